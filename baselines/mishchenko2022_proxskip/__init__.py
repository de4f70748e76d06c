"""Mishchenko et al. 2022, ProxSkip: Yes! Local Gradient Steps Provably Lead to Communication Acceleration! Finally!

Scaffnew, which is ProxSkip for federated learning, on logistic regression with full gradients and
20 workers (see `logistic.py`). The paper has w8a, of which every tenth row is used here; a9a (every
third row) and mushrooms are other data of the same collection, and κ is 400 or 100. Where the paper
draws after every step whether workers meet, here they meet after every K = √κ steps. No numbers of
the paper's figures were found, so claims are orderings; a method has arrived where f - min f is
1e-6 of what it was at first.
"""  # noqa: E501
