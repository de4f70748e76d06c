"""Li et al. 2020, Federated Optimization in Heterogeneous Networks (FedProx)

Softmax regression on the paper's four synthetic sets, 30 devices, 10 a round, E = 20, B = 10,
learning rate 0.01, 200 rounds, with 0, 50 or 90 % of the cohort being stragglers, whom FedAvg drops
and FedProx keeps. Loss is that of the global model on all training examples (`train_set/loss`), as
in the paper's figures; values are means over the evaluations of the last 50 rounds.

The authors' generator is unseeded, so their data sets cannot be had; here every seed is another
data set of the same generator, which is most of what the intervals show. What is compared is paired
on the seed. The paper's figures have no table, so all claims are orderings. Without stragglers
FedAvg and FedProx with μ = 0 are the same runs. As in the paper's text a straggler does 1 to E
epochs; the authors' code has 1 to E - 1.
"""
