"""Karimireddy et al. 2020, SCAFFOLD: Stochastic Controlled Averaging for Federated Learning

Figure 3, two quadratics, as far as the paper describes it: it gives neither step size nor start
(see `quadratics.py`). And an analogue of table 3 on MNIST. There: softmax regression, 100 clients,
20 a round, an epoch being 5 steps, s % similarity meaning that s % of each client's examples are
IID and the rest sorted by label; SGD is one full-batch step of every client in the round. The paper
has EMNIST and counts rounds to a test accuracy of 0.5; MNIST is easier, so the target is 0.85.
Learning rates are chosen for each method from a grid by the same number, as in the paper, on the
first seed. Numbers of rounds are not comparable with the paper's, so claims are its orderings.
"""
