"""Jhunjhunwala et al. 2023, FedExP: Speeding Up Federated Averaging via Extrapolation

The synthetic linear regression of section 6, with more weights than examples, as the authors' code
has it (see `regression.py`). The figure has no numbers that we could read, so claims are orderings,
of the objective after 200 rounds. Every seed is another data set of the same distribution.
"""
