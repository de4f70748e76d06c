"""Nguyen et al. 2022, Federated Learning with Buffered Asynchronous Aggregation (FedBuff)

Time to a target accuracy at equal concurrency: 40 clients are at work at any moment, on devices
whose speeds and connections are spread log-normally (σ = 1), in synchronous rounds, with
over-selection, in a buffer of 10, with FedAsync (Xie et al. 2019), and at deadlines. Hours are
those of the virtual clock.

The paper has CelebA, Sent140 and CIFAR-10, a concurrency of up to 1,000, delays measured in
production, and tunes its rates; here it is MNIST, dealt out to 200 clients by a Dirichlet
distribution with α = 0.3, a 2NN, and one untuned rate for all. So claims are the paper's orderings,
that FedBuff is faster than synchronous and than purely asynchronous training, on other data. The
paper itself was not at hand; they are what its abstract says.

The length of the runs and the target were settled after two runs of 12 and of 60 steps with seed
99, which no claim has.
"""
