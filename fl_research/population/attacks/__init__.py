"""Clients that lie, by name."""

from fl_research import registry

ATTACKS: dict[str, registry.Entry] = {}
"""Every attack: the name users type, its module, its hyperparameters.

The module has `build(**hyperparameters)`, which returns an
`fl_research.population.attacks.attack.Attack`.
"""
