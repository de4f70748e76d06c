"""Runs whose sums the protocol takes: those of --secure_aggregation=clear, and what they cost."""

import numpy as np
import pytest

from experiments import command_line
from fl_research import runtime
from fl_research.registry import UsageError
from fl_research.settings import from_flags, Settings
from fl_research.soundness import validation
from tests.training import runs

SMALL = ('--model=softmax', '--total_rounds=2', '--clients_per_round=4')
COSTS = ('secure_aggregation/bytes_up', 'secure_aggregation/bytes_down')


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


def _rows(folder):
  apart = (*COSTS, 'seconds')
  rows = runs.rows(folder / 'metrics.csv')
  return [{name: value for name, value in row.items() if name not in apart} for row in rows]


def test_the_same_to_the_bit_as_in_the_clear(tmp_path):
  clear, protocol = tmp_path / 'clear', tmp_path / 'protocol'
  for folder in (clear, protocol):
    assert runs.start(folder, *SMALL, f'--secure_aggregation={folder.name}') == 0
  for a, b in zip(runs.weights(clear), runs.weights(protocol), strict=True):
    np.testing.assert_array_equal(a, b)
  assert _rows(clear) == _rows(protocol)
  before, *costs = [[row[name] for name in COSTS] for row in runs.rows(protocol / 'metrics.csv')]
  assert before == ['', '']
  assert costs[0] == costs[1]
  assert int(costs[0][0]) > int(costs[0][1]) > 0


REFUSED = {
  '--runtime=native': "not with --runtime=native, TFF's own",
  '--clients_per_round=2': '--clients_per_round=2: with --secure_aggregation=protocol a sum needs',
  '--num_clients=2': '--num_clients=2: with --secure_aggregation=protocol',
}


@pytest.mark.parametrize('flag', REFUSED)
def test_refused_before_training(flag):
  name, value = flag[2:].split('=')
  given = {'task': 'digits', 'experiment_name': 'run', 'secure_aggregation': 'protocol'}
  with pytest.raises(UsageError, match=REFUSED[flag]):
    validation.validate(from_flags({**given, name: value}))


def test_what_the_flag_was_before_it_had_three_values():
  given = lambda value: from_flags({'secure_aggregation': value}).secure_aggregation
  assert [given(value) for value in (True, 'true', False, 'false')] == [
    *2 * ['clear'],
    *2 * ['none'],
  ]
  settings = Settings(task='digits', experiment_name='run', secure_aggregation='yes')
  with pytest.raises(UsageError, match='=yes: unknown; accepted are clear, none, protocol'):
    validation.validate(settings)


def test_the_flag_without_a_value_is_told_what_to_write():
  with pytest.raises(
    UsageError, match='--secure_aggregation: needs a value; accepted are none, cl'
  ):
    command_line.read_flags(['--secure_aggregation'])
