"""Hsu et al. 2019, Measuring the Effects of Non-Identical Data Distribution

(for Federated Visual Classification.) An analogue: the paper trains a CNN on CIFAR-10 for 10,000
rounds; here it is the 2NN on MNIST for 200, with the paper's partition: 100 clients, 5 a round (its
C = 0.05), E = 1, B = 64, momentum 0.9. In the claims alpha is the paper's; `--partition_alpha` is a
tenth of it, as ten labels share it. For the paper's alpha = 0, one label for each client, it is
0.001 here: four of five clients have one label to 99 %, and the last to draw have what is left.

Client rates are chosen by training accuracy on the first seed, among 0.03, 0.1, 0.3 and 1 for
FedAvg and a tenth of these for FedAvgM, as momentum 0.9 adds up to ten times a step. Accuracy
swings from one evaluation to the next: what counts is the mean over those of the last 50 rounds,
every tenth of which is evaluated.
"""
