"""Mishchenko et al. 2022, ProxSkip: Yes! Local Gradient Steps Provably Lead to Communication Acceleration! Finally!

Scaffnew, which is ProxSkip for federated learning, on logistic regression with full gradients and
20 workers (see `logistic.py`). The paper's data are w8a, of which here every tenth row is used; a9a
(every third) and mushrooms are other data of the same collection, and κ is 400 or 100. Where the paper draws after every step whether
workers meet, here they meet after every K = √κ steps. The paper's figures have no numbers that we
could read, so claims are orderings: the rounds to a suboptimality of 1e-6 of the first one.
"""  # noqa: E501
