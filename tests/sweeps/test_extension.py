"""What goes on with a grid whose best is at the edge."""

import pytest

from fl_research.sweeps import extension


@pytest.mark.parametrize(
  ('values', 'side', 'new'),
  [
    (['0.1', '0.2', '0.4'], 'largest', '0.8'),
    (['0.1', '0.2', '0.4'], 'smallest', '0.05'),
    (['0.03', '0.1', '0.3'], 'largest', '0.9'),
    (['1', '2', '3'], 'largest', '4'),
    (['2', '3', '5'], 'largest', '8'),
    (['1e-3', '1e-2'], 'smallest', '0.0001'),
    (['0.4', '0.1', '0.2'], 'largest', '0.8'),
    (['-1', '0', '1'], 'smallest', '-2'),
    (['0', '0.5'], 'largest', '1'),
    (['0.1', '0.2', '0.3'], 'smallest', None),  # 0 is no positive number.
    (['0.1', '0.2'], '', None),
  ],
)
def test_next_value(values, side, new):
  ((name, longer), other) = extension.extended(
    [('rate', values), ('seed', ['1', '2'])], {'rate': side}
  )
  assert name == 'rate'
  assert other == ('seed', ['1', '2'])
  assert set(longer) - set(values) == ({new} if new else set())
  assert [value for value in longer if value != new] == values
