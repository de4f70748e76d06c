"""Ghosh et al. 2020, An Efficient Framework for Clustered Federated Learning

IFCA on rotated MNIST: four groups of clients hold the pictures turned by 0, 90, 180 and 270
degrees, and nobody knows who is in which group. The paper gives every group all 60,000 pictures,
among 1,200 to 4,800 clients in all, and trains longer; here a picture belongs to one of 200.
"""
