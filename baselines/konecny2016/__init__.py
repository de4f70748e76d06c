"""Konečný et al. 2016, Federated Learning: Strategies for Improving Communication Efficiency

An analogue: the paper trains a convolutional network on CIFAR-10 and shows curves without numbers;
here it is McMahan et al.'s 2NN on MNIST, IID, 10 of 100 clients a round, and all layers are
compressed. Quantising to b bits means 2^b levels here.
"""
