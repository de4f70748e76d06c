"""Dinh et al. 2020, Personalized Federated Learning with Moreau Envelopes (pFedMe)

Synthetic(0.5, 0.5), the convex model, with the settings of the authors' code for the paper's table
of tuned parameters: 100 clients, 10 of them a round, 600 rounds of 20 steps of 20 examples. Smaller
here: a client has a fifth of the examples, and of a round's 20 steps every four pass over the same
80 of them; every seed is another data set of the same generator. In the authors' code all clients
train in every round and the drawn ones are averaged; here the others do not train. Accuracy is the
mean over clients, each counting the same, over the last 100 rounds.
"""
