"""Kairouz et al. 2021, Practical and Private (Deep) Learning without Sampling or Shuffling

Accounting only: the privacy of DP-FTRL's trees of noisy sums where records or users come back. With
it a keyboard's language model of McMahan and Thakurta 2022, "Federated Learning with Formal
Differential Privacy Guarantees". How often a participant counts in a tree is computed here, and
held against enumeration in a test; from there on it is the dp-accounting library.
"""
