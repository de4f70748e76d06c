"""McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data

Federated averaging and FedSGD on MNIST, 100 clients of 600 examples: rounds until the test accuracy
reaches a target (97 % for the 2NN, 99 % for the CNN). As in the paper, learning rates are chosen
per cell by that same number, a curve is made monotone, and the target is interpolated between
evaluations.
"""
