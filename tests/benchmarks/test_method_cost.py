"""Passes through the model are counted, forwards and backwards."""

import pytest

from benchmarks import method_cost
from tests import contexts


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  for name, value in {'_EXAMPLES': 20, '_FEATURES': 6, '_CLIENTS': 3}.items():
    monkeypatch.setattr(method_cost, name, value)
  method_cost.data.cache_clear()
  with contexts.fused(2):
    yield
  method_cost.data.cache_clear()


def test_examples_are_counted_in_both_directions():
  plain = method_cost.passes('fedavg')
  assert plain == (60, 60) and plain.work == 180
  # The gradient at the model, and at the worst one near it.
  assert method_cost.passes('fedsam') == (120, 120)
