"""Li et al. 2020, Fair Resource Allocation in Federated Learning

Adult, two clients, people with a doctorate and without, as the authors' code has it: logistic
regression of the categorical columns, one step over all examples a round, rate 0.1 for models and
for AFL's mixture, q = 5, 600 rounds. For AFL their code tests the mean of all models, here it is
the last; weight decay is in their model but not in its loss.
"""
