"""Fallah et al. 2020, Personalized Federated Learning with Theoretical Guarantees (Per-FedAvg)

MNIST, as in the paper an MLP of hidden layers of about 80 and 50 users, 10 of them a round. Smaller
or other here: users have two shards of sorted digits each, 400 examples a round, B = 40, and 100
rounds for the paper's 1000; both layers have 80 rectified units; rates are 0.05 for the paper's
alpha of 0.01 and beta of 0.001. Both arms are tested likewise: a user takes one pass of SGD over
half of its test examples, and is tested on the other half.
"""
