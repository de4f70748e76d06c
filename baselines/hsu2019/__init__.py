"""Hsu et al. 2019, Measuring the Effects of Non-Identical Data Distribution

(for Federated Visual Classification.) An analogue: the paper trains on CIFAR-10 for 10,000 rounds;
here it is the 2NN on MNIST with the same partition. Where the paper writes alpha,
`--partition_alpha` is a tenth of it, as ten labels share it.
"""
