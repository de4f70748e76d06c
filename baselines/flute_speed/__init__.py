"""Dimitriadis et al. 2022, FLUTE: an extensible framework for federated learning simulations

The speed comparison of FLUTE's README: logistic regression on MNIST, 1,000 clients, 10 per round,
B = 10, learning rate 0.03, E = 1, 100 rounds, a test every 20. It gives 3:20 minutes for FLUTE and
30:14 for Flower 1.0.0, both on a CPU that is not described. Hardware differs, so these rows say
what a user waits here and no more; minutes are wall time of the whole command, Python's and
TensorFlow's start among them.

Our clients have two digits and 60 examples each, pixels in [0, 1], and the model is softmax
regression. FLUTE's `experiments/cv_lr_mnist` has FedML's data and model: the clients of Li et al.
2020 (two digits each, sizes by a power law), standardised pixels, and a sigmoid of the scores
before softmax. `what_if_…` are analogues that ask which of these makes the accuracy another.
"""
