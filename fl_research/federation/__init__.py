"""Training on machines that keep their data: engine, sites, and what the data's owners decide.

An *engine* has the experiment: TFF, the server's steps, CSVs and checkpoints. *Sites* have the
data, TensorFlow, and a policy. They exchange messages (`messages`), carried by a transport that
knows nothing of what is in them. The client half of a round is a graph, shipped once; what a site
sends back is what its clients would send in a simulation, and nothing else crosses.
"""
