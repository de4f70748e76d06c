"""Singhal et al. 2021, Federated Reconstruction: Partially Local Federated Learning

Film ratings by matrix factorisation: users' factors and biases are made anew by FedRecon from a
user's own ratings, and are part of the one global model with FedAvg. The paper has MovieLens 1M, 50
factors and 500 rounds of 100 users, here it is the small MovieLens (610 users), with 16 factors and
100 rounds of 50 users. Rates, batch size and the 50 steps of reconstruction are those of the
authors' code. The paper tests users that never trained; here all users are tested on a fifth of
their ratings.
"""
