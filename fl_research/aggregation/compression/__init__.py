"""What an update looks like on the wire: compressors by name, and chains of them."""

from fl_research import registry

COMPRESSORS: dict[str, registry.Entry] = {}
"""Every compressor: the name users type, its module, its hyperparameters.

The module has `build(**hyperparameters)`, which returns a
`fl_research.aggregation.compression.compressor.Compressor`.
"""
