"""Reddi et al. 2021, Adaptive Federated Optimization

The optimisers of table 1 with the published learning rates. `roles_…` are Shakespeare by play and
role at a scale that fits: one LSTM layer of 64 instead of two of 256, 20 characters a sequence
instead of 80, 40 sequences at most of a role in a round, 100 rounds instead of 1,200. The other
flag files have the paper's scale and are checked, not run: their data have to be downloaded.
Learning rates and tau are those of the authors' repository; of its two values of beta_2, 0.99 in
the paper and 0.999 in the repository's notes, it is the paper's. Rates for CIFAR-10 are not
published there; its flag files have those of CIFAR-100.
"""
