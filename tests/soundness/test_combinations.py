"""docs/combinations.md says what the checks say, and what it says runs does run."""

import dataclasses
import functools

import numpy as np

from fl_research import aggregation, algorithms, client_data, runtime
from fl_research.aggregation import compression
from fl_research.round.method import Method
from fl_research.soundness import combinations
from fl_research.training import assembly, run_data

_ROUNDS = 2


@functools.cache
def _kind_of_algorithm(name):
  """All that an aggregator or a compressor can notice of it, but for what it reckons with."""
  entry, method = algorithms.ALGORITHMS[name], type(algorithms.build(name, {}))
  hooks = ('exchanges', 'initial', 'initial_client_state', 'shares')
  own = tuple(getattr(method, hook) is not getattr(Method, hook) for hook in hooks)
  asks = tuple(
    (asked.setting, asked.accepted)
    for asked in entry.requires
    if asked.setting in ('aggregator', 'compressor', 'secure_aggregation')
  )
  return method.auxiliary_weighting, bool(entry.not_private), entry.not_structured, own, asks


def _kind_of_aggregator(name):
  """All that a method can notice of it."""
  entry = aggregation.AGGREGATORS[name]
  return entry.is_sum, entry.needs_server_examples


def _kind_of_compressor(chain):
  """All that a method or an aggregator can notice of it, being given decoded updates."""
  entries = [compression.COMPRESSORS[part.partition(':')[0]] for part in chain.split(',') if part]
  restricts_training = any(entry.kind == compression.STRUCTURED for entry in entries)
  return bool(entries), restricts_training, any(entry.feeds_back for entry in entries)


def _kind_of_privacy(name):
  """All that a method or a compressor can notice of it."""
  given = combinations.PRIVACIES[name]
  return 'dp_noise_multiplier' in given, 'secure_aggregation' in given, 'dp_place' in given


def _pairs(cell):
  """Choices that must meet: each with the kinds of the others, aggregators with privacy itself.

  A method and an aggregator, or one of them and a compressor, know of each other only what the
  interfaces show, so that one of each kind stands for the others. Every method occurs.
  """
  algorithm = _kind_of_algorithm(cell.algorithm)
  aggregator = _kind_of_aggregator(cell.aggregator)
  compressor = _kind_of_compressor(cell.compressor)
  privacy = _kind_of_privacy(cell.privacy)
  yield from (
    ('algorithm', cell.algorithm),
    ('algorithm, aggregator', algorithm, aggregator),
    ('algorithm, compressor', algorithm, compressor),
    ('aggregator, compressor', cell.aggregator, compressor),
    ('compressor, aggregator', cell.compressor, aggregator),
    ('algorithm, privacy', algorithm, privacy),
    ('aggregator, privacy', cell.aggregator, cell.privacy),
    ('compressor, privacy', cell.compressor, privacy),
  )


def _covering(cells):
  """Few cells in which every pair occurs that occurs in any cell, found greedily."""
  numbers: dict[tuple, int] = {}
  masks = {
    cell: sum(1 << numbers.setdefault(pair, len(numbers)) for pair in set(_pairs(cell)))
    for cell in cells
  }
  left, chosen = (1 << len(numbers)) - 1, []
  while left:
    best = max(cells, key=lambda cell, left=left: (masks[cell] & left).bit_count())
    chosen.append(best)
    left &= ~masks[best]
  return chosen


def _small_settings(combination):
  """The combination's settings, of one layer where the method does not tell layers apart."""
  settings, name = combination.settings(), combination.algorithm
  if name == 'fedbn':
    normalised = {**settings.hyperparameters, 'mlp_normalization': 'layer'}
    return dataclasses.replace(settings, hyperparameters=normalised)
  if name == 'heterofl' or type(algorithms.build(name, {})).shares is not Method.shares:
    return settings
  return dataclasses.replace(settings, model='softmax', hyperparameters={})


def run_two_rounds(combination):
  """Trains two rounds of a combination; asserts that finite weights have moved."""
  settings = _small_settings(combination)
  data = run_data.load(settings)
  model = assembly.build_model(settings, data.spec)
  process = assembly.build_process(settings, model, data)
  state = process.initialize()
  before = _weights_of_all_models(process, state)
  for round_num in range(1, _ROUNDS + 1):
    clients = [_client(settings, data, round_num, k) for k in range(len(data.train))]
    state, measured, _ = process.run_round(state, clients)
    assert measured['participants'] == len(clients)
  after = _weights_of_all_models(process, state)
  assert all(np.all(np.isfinite(w)) for w in after)
  if any(process.method.shares(model.weight_names)) and not _may_stand_still(combination):
    assert any(np.any(a != b) for a, b in zip(after, before))


def _weights_of_all_models(process, state):
  """Of methods that have several as well, of which clients may train only the second."""
  return [weight for model in process.models(state).values() for weight in model]


def _may_stand_still(combination):
  """Where most clients send zero for a number, the middle of what they send is zero."""
  sparse = any(name in combination.compressor for name in ('top_k', 'subsample', 'random_mask'))
  return sparse and combination.aggregator in ('median', 'trimmed_mean')


def _client(settings, data, round_num, position):
  return client_data.client_data(
    data.train.examples(position),
    batch_size=settings.batch_size,
    epochs=settings.client_epochs_per_round,
    seed=settings.seed,
    round_num=round_num,
    client=position,
    max_examples=settings.max_examples_per_client,
  )


def running():
  """All cells that the page says run: it is read sooner than all checks are made."""
  cells, algorithm, compressors = [], '', []
  for line in combinations.PAGE.read_text().splitlines():
    if line.startswith('## '):
      algorithm = line[3:]
    if not line.startswith('| ') or algorithm not in algorithms.ALGORITHMS:
      continue
    aggregator, privacy, *row = (part.strip(' `') for part in line.strip('|').split('|'))
    if aggregator == 'aggregator':
      compressors = ['' if name == 'as they are' else name for name in row]
      continue
    runs = [name for name, cell in zip(compressors, row, strict=True) if cell == 'runs']
    cells += [combinations.Combination(algorithm, aggregator, name, privacy) for name in runs]
  return cells


def pytest_generate_tests(metafunc):
  if 'combination' in metafunc.fixturenames:
    every = metafunc.config.getoption('--all-combinations')
    cells = running() if every else _covering(running())
    metafunc.parametrize('combination', cells, ids=_name)


def _name(cell):
  return '-'.join((cell.algorithm, cell.aggregator, cell.compressor or 'plain', cell.privacy))


def test_page_is_up_to_date_and_is_read_as_it_was_written():
  # In one test, as a process takes half a minute to make all checks, and then has them.
  assert combinations.PAGE.read_text() == combinations.page(), 'make generated'
  assert set(running()) == {cell for cell in combinations.combinations() if not cell.refusal()}


def test_unsound_combinations_are_refused_with_the_reason():
  cell = combinations.Combination('fedavg', 'krum', '', 'fixed clip')
  assert 'krum' in cell.refusal()
  cell = combinations.Combination('fedavg', 'mean', 'quantize,rotation', 'none')
  assert 'rotation' in cell.refusal()


def test_what_runs_runs(combination):
  with runtime.use_context('fused', chunks=1):
    run_two_rounds(combination)
