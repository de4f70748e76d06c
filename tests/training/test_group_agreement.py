"""How many clients have found their group, and what metrics.csv says of it."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest

from experiments import command_line, evaluate
from fl_research import algorithms, runtime
from fl_research.training import client_groups, group_agreement, personal_evaluation, run_data
from tests.training import runs

_GROUPS = ('--model=softmax', '--num_clients=8', '--partition=shards', '--label_namings=2')


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


@pytest.mark.parametrize(
  ('chosen', 'share'),
  [
    ([0, 1, 2, 0, 1, 2], 1.0),
    ([2, 0, 1, 2, 0, 1], 1.0),  # The models' numbers mean nothing.
    ([1, 1, 2, 1, 1, 2], 4 / 6),  # Two groups share a model: half of these are right.
    ([0, 0, 0, 0, 0, 0], 2 / 6),
    ([0, 1, 2, 0, 1, 0], 5 / 6),
    ([0, 1, 2, 4, 1, 2], 5 / 6),  # More models than groups.
  ],
)
def test_found(chosen, share):
  own = np.array([0, 1, 2, 0, 1, 2])
  assert group_agreement.found(np.array(chosen), own) == pytest.approx(share)


def test_the_rand_index_is_0_for_one_model_and_by_hand_for_three_of_four():
  assert group_agreement.values([0, 0, 0, 0], [0, 1, 0, 1])['rand_index'] == 0.0
  # Pairs alike in both: 1. Expected: 3 · 2 / 6 = 1; at most (3 + 2) / 2. So (1 - 1) / (5/2 - 1).
  assert group_agreement.values([0, 0, 0, 1], [0, 0, 1, 1])['rand_index'] == pytest.approx(0.0)
  # Alike in both: 2. Expected: 4 · 2 / 10; at most (4 + 2) / 2.
  values = group_agreement.values([0, 0, 0, 1, 1], [0, 0, 1, 2, 2])
  assert values == {'found': 0.8, 'rand_index': pytest.approx((2 - 4 * 2 / 10) / (3 - 4 * 2 / 10))}


@pytest.mark.parametrize('algorithm', ['ifca', 'cfl'])
def test_a_run_tells_whose_model_clients_use(algorithm, tmp_path):
  flags = (*_GROUPS, f'--algorithm={algorithm}', '--clients_per_round=8', '--total_rounds=3')
  more = ('--cfl_mean_norm=9', '--cfl_max_norm=0.01') if algorithm == 'cfl' else ()
  assert runs.start(tmp_path / 'run', *flags, *more) == 0
  row = runs.rows(tmp_path / 'run' / 'metrics.csv')[-1]
  chosen = _used(tmp_path / 'run', runs.settings(tmp_path / 'run', *flags, *more))
  expected = group_agreement.values(chosen, np.arange(8) % 2)
  assert len(set(chosen)) > 1
  assert {name: float(row[f'groups/{name}']) for name in group_agreement.NAMES} == expected
  assert command_line.run(evaluate.main, ['evaluate.py', f'--run={tmp_path / "run"}']) == 0
  again = runs.rows(tmp_path / 'run' / 'evaluation.csv')[-1]
  assert again['groups/found'] == row['groups/found']


def _used(folder, settings):
  """Of the models that were saved, which one makes of a client's test examples what the run says.

  `clients.csv` has the loss of each client's model, and the models lie in the folder.
  """
  data = run_data.load(settings)
  losses = {
    line['client_id']: float(line['value'])
    for line in runs.rows(folder / 'clients.csv')
    if (line['round'], line['phase'], line['metric']) == ('3', 'eval', 'loss')
  }
  models = [np.load(path) for path in sorted(folder.glob('model*.npz'))]
  found = []
  for position, client_id in enumerate(data.test_clients.ids):
    examples = data.test_clients.examples(position)
    off = [abs(_loss(model, examples) - losses[client_id]) for model in models]
    assert min(off) < 1e-4
    found.append(int(np.argmin(off)))
  return found


def _loss(model, examples):
  """The mean cross-entropy of softmax regression."""
  x = examples['x'].reshape(len(examples['y']), -1)
  logits = x @ model['dense_1/kernel'] + model['dense_1/bias']
  each = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), examples['y']]
  return each.mean()


def test_without_groups_or_a_choice_there_is_no_such_column(tmp_path):
  def known(algorithm, *flags):
    settings = runs.settings(tmp_path, *flags, f'--algorithm={algorithm}')
    own = algorithms.entry(algorithm).settings(algorithm, {})
    method = algorithms.build(algorithm, own)
    return personal_evaluation.plan(settings, method, run_data.load(settings)).group_of is not None

  assert known('ifca', '--rotations=2') and known('cfl', '--rotations=2')
  assert not known('ifca') and not known('fedem', '--rotations=2')


def test_groups_of_several_flags_are_those_that_have_everything_alike(tmp_path):
  ids = [f'c{k}' for k in range(9)]
  group_of = lambda *flags: client_groups.group_of(ids, runs.settings(tmp_path, *flags))
  assert group_of('--renderings=plain,plain') is None and group_of() is None
  assert list(group_of('--rotations=2').values()) == [0, 1] * 4 + [0]
  both = group_of('--rotations=2', '--renderings=plain,noisy,faint')
  assert list(both.values()) == [0, 1, 2, 3, 4, 5, 0, 1, 2]
