"""Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates

MNIST by softmax regression, 40 workers with full gradients, two of which learn 9 - y for y. The
paper's step size is not known to us: each arm has the best of a grid. Its accuracies could not be
read, so the claims are its ordering.
"""
