"""Li, He, Song 2021, Model-Contrastive Federated Learning (MOON)

An analogue: the paper has CIFAR-10, CIFAR-100 and Tiny-ImageNet with convolutional networks, whose
features go through two more layers, and 100 rounds of 10 epochs. Here it is MNIST and a 2NN whose
features are its last hidden layer, dealt out as in the paper to ten clients by Dirichlet 0.5 for
each label, all of them in each of 20 rounds of 5 epochs of 640 examples, B = 64, SGD with rate 0.01
and momentum 0.9. mu is 1 (the paper tunes it in 0.1, 1, 5, 10), tau 0.5, FedProx's mu 0.01.
Accuracy is the mean over the last 10 rounds.
"""
