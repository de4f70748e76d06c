"""Collins et al. 2021, Exploiting Shared Representations for Personalized Federated Learning

An analogue: the paper compares FedRep, FedPer, Ditto and fine-tuning with FedAvg on CIFAR, FEMNIST
and Sent140, where clients have few labels each. Here clients differ as people do (UCI HAR by
subject, tested on the last fifth of their own windows of each activity), or contradict each other
(MNIST, IID, but four groups of clients have a permutation of the digits each), or have few labels,
as in the paper (MNIST, two shards of sorted digits each of 100 clients).
"""
