"""McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data

Federated averaging and FedSGD on MNIST, 100 clients of 600 examples: rounds until the test accuracy
reaches a target (97 % for the 2NN, 99 % for the CNN). As in the paper, learning rates are chosen
per cell by that same number, a curve is made monotone, and the target is interpolated between
evaluations. Tables 1 and 2 of the paper give 339 and 179 (and 18 and 20) for the same cells.

The paper says neither how pixels were scaled nor how weights were drawn at first. Here pixels go
from -0.5 to 0.5, as the `pixels_…` claims explain, and weights are Keras' default: Glorot's uniform
draw, zero biases.
"""
