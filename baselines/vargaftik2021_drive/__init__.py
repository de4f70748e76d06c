"""Vargaftik et al. 2021, DRIVE: One-bit Distributed Mean Estimation

The error of the mean of ten clients' vectors after one bit per number, by the compressors that
training uses too (`--compressor=drive`, `--compressor=rotation,quantize:1`). Kashin's
representation, the table's third method, is not among them.

The expected values are not the published table's, whose digits are others and are not at hand: they
were computed again.
"""
