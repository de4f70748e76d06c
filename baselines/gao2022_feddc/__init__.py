"""Gao et al. 2022, FedDC: Federated Learning with Non-IID Data via Local Drift Decoupling

MNIST is one of the paper's data sets, with a network of two hidden layers, 100 clients, 15 of them
a round, labels by Dirichlet 0.3, E = 5, B = 50, rate 0.1, weight decay 1e-3 and gradients clipped
at 10, as in the authors' code. Smaller here: 30 rounds, in each of which a client trains on at most
300 of its examples. FedDC's alpha is 0.1, FedDyn's 0.01. Layers have 200 units each, and rates do
not decay; a label is split over the clients by Dirichlet, where the paper's code draws each
client's labels. Accuracy is the mean over the last 10 rounds.
"""
