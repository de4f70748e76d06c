"""Acar et al. 2021, Federated Learning Based on Dynamic Regularization (FedDyn)

The authors' synthetic example: softmax regression, 30 features, 5 classes, 20 clients of 200
examples, 2 of them a round, 10 epochs, B = 10, learning rate 0.1, weight decay 1e-5, gradients
clipped at 10, FedDyn's α = 0.01, 500 rounds. In their example clients are alike; a second set, in
which models and inputs differ between clients (α = β = 1 of their generator), has the same settings
but for FedDyn's α, which is chosen from a grid. The test set is the training set, so `eval/loss` is
the objective.

The published numbers of rounds were not found, so claims are our own, with targets and thresholds
of ours. Differences: their example draws each client with probability 0.1, here 2 of 20 are drawn;
it starts from zero weights, here they are small and random; every seed is another data set.
"""
