"""Bonawitz et al. 2017, Practical Secure Aggregation for Privacy-Preserving Machine Learning

What the protocol adds to a user's traffic, by the paper's count of keys, shares and masked numbers.
"""
