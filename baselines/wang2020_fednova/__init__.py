"""Wang et al. 2020, Tackling the Objective Inconsistency Problem in Heterogeneous FL (FedNova)

Figure 5: softmax regression on Synthetic(1,1), 30 clients of very unequal size, so that with as
many epochs they take unequally many steps; with all clients, with three in ten of them, and with
three in ten of which each does 1 to 5 epochs. Loss is that of the global model on all training
examples (`train_set/loss`), the mean over the last 50 of 200 rounds.

The figure has no numbers, so claims are orderings. Batch size and learning rate of the figure were
not found; 10 and 0.01, those of Li et al. 2020 for the same data, are used for all methods. Every
seed is another data set of the same generator.
"""
