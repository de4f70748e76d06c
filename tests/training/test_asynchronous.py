"""Whole asynchronous runs: what they reduce to, how they go on, what they refuse."""

import types

import numpy as np
import pytest

from fl_research import runtime
from fl_research.population import scheduler
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.soundness import validation
from fl_research.training import asynchronous, experiment
from tests.training import runs

SMALL = ('--model=softmax', '--total_rounds=4', '--rounds_per_checkpoint=1', '--tensorboard=false')
BUFFER = (*SMALL, '--aggregation_trigger=buffer', '--buffer_size=2', '--device_spread=1.5')


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


def shared_columns(folder):
  """The rows of metrics.csv, without what only one kind of run has and what a clock says."""
  apart = {*asynchronous.COLUMNS, 'seconds', 'simulated_hours'}
  rows = runs.rows(folder / 'metrics.csv')
  return [{name: value for name, value in row.items() if name not in apart} for row in rows]


@pytest.fixture(scope='module')
def buffered(tmp_path_factory):
  """A finished run whose clients fail, straggle, and are of very different speed."""
  folder = tmp_path_factory.mktemp('buffered') / 'run'
  assert runs.start(folder, *BUFFER, *TROUBLE) == 0
  return folder


TROUBLE = ('--dropout_probability=0.2', '--straggler_fraction=0.3', '--client_epochs_per_round=2')


@pytest.mark.parametrize(
  'population',
  [
    # All take part, each on a device of its own.
    ('--device_spread=1', '--clients_per_round=6', '--buffer_size=6', '--partition=dirichlet'),
    # Three are drawn, and their devices are alike.
    ('--clients_per_round=3', '--buffer_size=3', '--device_seconds_per_example=0'),
  ],
  ids=['everybody', 'drawn'],
)
def test_whole_cohorts_are_synchronous_rounds_bit_for_bit(population, tmp_path):
  sizes = [flag for flag in population if 'buffer' not in flag]
  assert runs.start(tmp_path / 'rounds', *SMALL, *sizes) == 0
  assert runs.start(tmp_path / 'steps', *SMALL, *population, '--aggregation_trigger=buffer') == 0
  assert shared_columns(tmp_path / 'rounds') == shared_columns(tmp_path / 'steps')
  for name in ('model.npz', 'clients.csv'):
    first, second = ((tmp_path / run / name).read_bytes() for run in ('rounds', 'steps'))
    assert first == second
  clocks = [runs.rows(tmp_path / run / 'metrics.csv') for run in ('rounds', 'steps')]
  hours = [[float(row['simulated_hours']) for row in rows[1:]] for rows in clocks]
  np.testing.assert_allclose(*hours, rtol=1e-9)
  assert {row['staleness_max'] for row in clocks[1][1:]} == {'0'}


@pytest.mark.parametrize(
  ('staleness', 'expected'), [([3, 0, 1, 7], [1, 7, 7]), ([5], [5, 5, 5]), ([], [None] * 3)]
)
def test_quantiles_of_staleness_are_some_clients(staleness, expected, monkeypatch):
  plan = types.SimpleNamespace(staleness=np.array(staleness))
  monkeypatch.setattr(asynchronous, '_plan_of', lambda trained: trained)
  names = ('staleness_median', 'staleness_p90', 'staleness_max')
  assert [asynchronous.COLUMNS[name](plan) for name in names] == expected


def test_columns_tell_what_happened(buffered):
  rows = runs.rows(buffered / 'metrics.csv')[1:]
  number = lambda name: [float(row[name]) for row in rows]
  assert number('participants') == [2.0] * 4
  assert number('simulated_hours') == sorted(number('simulated_hours'))
  assert all(low <= high for low, high in zip(number('staleness_median'), number('staleness_max')))
  assert max(number('staleness_max')) > 0 and sum(number('dropouts')) > 0
  assert all(0 < count <= 3.0 + 1e-9 for count in number('concurrency'))
  # Every place is filled anew as soon as it is free.
  assert sum(number('cohort_size')) == 3 + 2 * 3 + sum(number('dropouts')[:3]) + _since_last(rows)


def _since_last(rows):
  """How many began after the last but one step: in place of the first of two, and of the failed."""
  return 1 + int(rows[-1]['dropouts'])


class Killed(Exception):
  """Stands in for the end of the process."""


def _stops(after, how):
  """What ends a session after so many steps."""
  asked = iter(range(after + 1))

  def interrupted():
    if next(asked) < after:
      return ''
    if how is Killed:
      raise Killed
    return how

  return interrupted


@pytest.mark.parametrize(
  'flags',
  [
    (),
    ('--compressor=top_k:0.2,quantize:8',),
    ('--algorithm=ditto', '--own_test_fraction=0.2', '--aggregation_trigger=deadline'),
    ('--stale_update=model', '--max_staleness=1'),
  ],
  ids=['trouble', 'memory', 'personal', 'mixing'],
)
def test_a_run_goes_on_as_if_nothing_had_been(flags, buffered, tmp_path):
  flags = [*BUFFER, *TROUBLE, *flags]
  if '--aggregation_trigger=deadline' in flags:
    flags = [flag for flag in flags if 'buffer' not in flag] + ['--deadline_seconds=0.2']
  whole = buffered if flags == [*BUFFER, *TROUBLE] else tmp_path / 'whole'
  assert whole.exists() or runs.start(whole, *flags) == 0
  parts = tmp_path / 'parts'
  first = experiment.run(runs.settings(parts, *flags), _stops(1, 'enough for now'))
  assert first.last_row['round'] == '1'
  # The third step is not in the tables when the process ends; the last checkpoint is of the second.
  with pytest.raises(Killed):
    experiment.run(runs.settings(parts, *flags), _stops(2, Killed))
  assert runs.start(parts, *flags) == 0
  runs.assert_same_results(whole, parts)


def test_checkpoints_hold_what_is_in_flight(buffered):
  newest = max((buffered / 'checkpoints').glob('round_*.npz'))
  with np.load(newest) as arrays:
    sent = {name.split('/')[2] for name in arrays if name.startswith('driver/sent/')}
    at_work, waiting = arrays['driver/at_work'], arrays['driver/waiting']
    begun = arrays['driver/counts'][1]
  fails = at_work[:, -1] > 0
  assert sent == {str(int(row[1])) for row in (*at_work[~fails], *waiting)}
  assert 0 < len(sent) < begun


def test_what_is_too_stale_is_thrown_away(tmp_path):
  flags = (*BUFFER, '--max_staleness=0', '--total_rounds=8')
  assert runs.start(tmp_path / 'run', *flags) == 0
  rows = runs.rows(tmp_path / 'run' / 'metrics.csv')[1:]
  assert {row['staleness_max'] for row in rows} == {'0'}
  assert sum(int(row['discarded']) for row in rows) > 0


def test_a_deadline_steps_by_time(tmp_path):
  flags = (*SMALL, '--aggregation_trigger=deadline', '--deadline_seconds=0.09', '--device_spread=1')
  assert runs.start(tmp_path / 'run', *flags) == 0
  rows = runs.rows(tmp_path / 'run' / 'metrics.csv')[1:]
  hours = [float(row['simulated_hours']) for row in rows]
  np.testing.assert_allclose(hours, 0.09 * np.arange(1, 5) / 3600, rtol=1e-12)
  # Nobody is there at the first: nothing was used, and nothing is said of staleness.
  assert (rows[0]['participants'], rows[0]['staleness_max']) == ('0', '')
  assert sum(int(row['participants']) for row in rows) > 0


def test_small_messages_arrive_sooner(tmp_path):
  slow = (*BUFFER, '--device_upload_rate=20000')
  hours = []
  for name, flags in (('whole', ()), ('small', ('--compressor=quantize:2',))):
    assert runs.start(tmp_path / name, *slow, *flags) == 0
    hours.append(float(runs.rows(tmp_path / name / 'metrics.csv')[-1]['simulated_hours']))
  assert hours[1] < 0.7 * hours[0]


ASYNCHRONOUS = {'aggregation_trigger': 'buffer'}
PRIVATE = {'dp_noise_multiplier': 1.0, 'dp_clip_norm': 1.0}


@pytest.mark.parametrize(
  'given, line',
  [
    ({'staleness_weighting': 'hinge'}, '--staleness_weighting=hinge: only read with'),
    ({'stale_update': 'model'}, '--stale_update=model: only read with'),
    ({'max_staleness': 3}, '--max_staleness=3: only read with'),
    ({'hyperparameters': {'buffer_size': 3}}, 'not read by this run .--aggregation_trigger=cohort'),
    (
      {'hyperparameters': {'staleness_exponent': 1.0}},
      'not read by this run .--aggregation_trigger=cohort',
    ),
    (
      {**ASYNCHRONOUS, 'hyperparameters': {'staleness_slope': 1.0}},
      'not read by this run .--staleness_weighting=polynomial',
    ),
    (
      {'aggregation_trigger': 'deadline', 'hyperparameters': {'deadline_least_epochs': 2.0}},
      '--deadline_least_epochs=2: is more than --client_epochs_per_round=1',
    ),
    ({**ASYNCHRONOUS, **PRIVATE}, 'not with differential privacy'),
    ({**ASYNCHRONOUS, 'algorithm': 'scaffold'}, 'not with --algorithm=scaffold, which presumes'),
    ({**ASYNCHRONOUS, 'algorithm': 'mime'}, 'not with --algorithm=mime'),
    ({**ASYNCHRONOUS, 'algorithm': 'feddyn'}, 'not with --algorithm=feddyn'),
    ({**ASYNCHRONOUS, 'cohort_sampling': 'poisson'}, '--cohort_sampling=poisson: not with'),
    ({**ASYNCHRONOUS, 'over_selection': 1.5}, '--over_selection=1.5: not with'),
    ({**ASYNCHRONOUS, 'stragglers': 'drop'}, '--stragglers=drop: not with'),
    ({**ASYNCHRONOUS, 'centralized': True}, '--centralized=true: not with'),
    ({**ASYNCHRONOUS, 'local_only': True}, '--local_only=true: not with'),
    (
      {**ASYNCHRONOUS, 'stale_update': 'model', 'algorithm': 'fedadam'},
      '--stale_update=model: not with --algorithm=fedadam',
    ),
    (
      {**ASYNCHRONOUS, 'stale_update': 'model', 'server_optimizer': 'adam'},
      '--stale_update=model: not with --server_optimizer=adam',
    ),
    (
      {**ASYNCHRONOUS, 'stale_update': 'model', 'server_learning_rate': 2.0},
      '--stale_update=model: not with --server_learning_rate=2',
    ),
    (
      {**ASYNCHRONOUS, 'stale_update': 'model', 'secure_aggregation': 'clear'},
      '--stale_update=model: not with --secure_aggregation',
    ),
    ({**ASYNCHRONOUS, 'aggregator': 'krum', 'hyperparameters': {'buffer_size': 2}}, 'krum'),
  ],
)
def test_refused(given, line):
  settings = Settings(experiment_name='run', task='digits', **given)
  with pytest.raises(UsageError, match=line):
    validation.validate(settings)


def test_a_buffer_that_could_never_be_full_is_refused(tmp_path, capsys):
  assert runs.start(tmp_path / 'run', *BUFFER, '--buffer_size=7') == 2
  assert '--buffer_size=7: would never be full, as only 6' in capsys.readouterr().err


@pytest.mark.parametrize('trigger', [name for name in scheduler.TRIGGERS if name != 'cohort'])
def test_secure_sums_add_up_a_step_and_show_nobody(trigger, tmp_path):
  flags = [flag for flag in BUFFER if trigger == 'buffer' or 'buffer' not in flag]
  flags += [f'--aggregation_trigger={trigger}']
  if trigger == 'deadline':
    flags += ['--deadline_seconds=0.2']
  clear, secure = tmp_path / 'clear', tmp_path / 'secure'
  # Uploads of secure sums are larger; so that events are the same, they take no time.
  same = (*flags, '--device_upload_rate=1e15')
  assert runs.start(clear, *same) == 0
  assert runs.start(secure, *same, '--secure_aggregation=clear', '--secure_sum_bound=1000') == 0
  for a, b in zip(runs.weights(clear), runs.weights(secure), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-3)
