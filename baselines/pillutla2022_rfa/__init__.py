"""Pillutla et al. 2022, Robust Aggregation for Federated Learning

An analogue: the paper's geometric median (RFA) beside the other robust rules, on MNIST by the 2NN
instead of EMNIST, against attackers who send -10 times their update (Li et al. 2019, "RSA"). All 20
clients take part in each round, on 600 examples of theirs, so that the attackers are always four.
"""
