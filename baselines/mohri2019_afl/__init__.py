"""Mohri et al. 2019, Agnostic Federated Learning

Adult, two domains, people with a doctorate (413) and without (32,148): the worse of the two is
served better by the worst mixture's model than by that of all examples alike. Logistic regression
of the categorical columns; all examples are in each step, where the paper draws minibatches, and it
is the last model that is tested, not the mean of all. The paper's rates were not found: rows
with 2,000 rounds have ours, `…_short` those of the code of Li et al. 2020, with 600.
"""
