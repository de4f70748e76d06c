"""Our form on disk: what is written is what is read, and never half of it."""

import dataclasses
import json
import os
import time
import tracemalloc

import numpy as np
import pytest

from fl_research.datasets import passport
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  InputColumn,
  LabelScale,
  PooledData,
  Problem,
)
from fl_research.importing import images, memory, store
from fl_research.importing.source import ColumnFound, Counts, Found, Part, Source, Spec
from fl_research.population.cohorts import CohortSampler
from fl_research.registry import UsageError
from tests import slow_machines
from tests.datasets import dataset_checks as checks
from tests.importing import made


class Numbers(Source):
  """Three clients, whose parts come in turns; the second has no test rows, the third only those."""

  def __init__(self, changes=()):
    self.found = Found('made up', 'nobody', 'y', ('p', 'q'), [ColumnFound('a', 'number', 'r', 't')])
    self.spec = Spec(
      (2,), np.dtype(np.float32), (), np.dtype(np.float32), Problem.REGRESSION, 1,
      inputs=(InputColumn('a', 0, 1), InputColumn('b', 1, 2, 7)),
      label_scale=LabelScale(np.float32(3), np.float32(0.5), ('kg',)),
    )  # fmt: skip
    self.counts = Counts(['a', 'b', 'c'], np.array([3, 2, 0]), np.array([1, 0, 2]))
    self.files = {'file.csv': 'abc'}
    self.preprocessing = {'mean': np.arange(3.0), 'columns': [{'name': 'a', 'values': np.eye(2)}]}
    self._changes = changes

  def parts(self):
    row = 0
    turns = [(0, False, 1), (1, False, 2), (0, True, 1), (0, False, 2), (2, True, 2)]
    for client, test, count in [*turns, *self._changes]:
      x = np.arange(row, row + count, dtype=np.float32)
      yield Part(client, test, {'x': np.stack([x, -x], 1), 'y': x})
      row += count


def load(folder):
  return store.load(DatasetOptions(data_dir='', data_file=str(folder)))


def test_what_is_written_is_what_is_read(tmp_path):
  store.write(Numbers(), str(tmp_path / 'out'))
  data, expected = load(tmp_path / 'out'), memory.read(Numbers())
  assert isinstance(data, FederatedData)
  for own, other in ((data.train, expected.train), (data.test_clients, expected.test_clients)):
    assert list(own.ids) == list(other.ids) and own.sizes.tolist() == other.sizes.tolist()
    for k in range(len(own)):
      for key in 'xy':
        np.testing.assert_array_equal(own.examples(k)[key], other.examples(k)[key])
  assert list(data.train.ids) == ['a', 'b'] and list(data.test_clients.ids) == ['a', 'c']
  assert data.train.examples(0)['y'].tolist() == [0, 4, 5]
  assert data.test['y'].tolist() == [3, 6, 7]
  assert isinstance(data.train.examples(0)['x'], np.memmap)
  assert data.inputs == expected.inputs and data.class_names == ('p', 'q')
  assert data.label_scale.names == ('kg',) and data.label_scale.mean == 3
  assert data.label_scale.deviation.dtype == np.float32
  np.testing.assert_array_equal(data.preprocessing['mean'], np.arange(3.0))
  np.testing.assert_array_equal(data.preprocessing['columns'][0]['values'], np.eye(2))
  assert json.loads((tmp_path / 'out' / 'data.json').read_text())['sources'] == {'file.csv': 'abc'}
  source = store.open_source(DatasetOptions(data_dir='', data_file=str(tmp_path / 'out')))
  assert source.found.form == 'made up' and source.found.columns[0].role == 'number'


def test_folders_without_an_index_are_read_too(tmp_path):
  store.write(Numbers(), str(tmp_path / 'out'))
  expected = load(tmp_path / 'out')
  page = json.loads((tmp_path / 'out' / 'data.json').read_text())
  page |= {'version': 1, 'clients': {'ids': ['a', 'b', 'c'], 'train': [3, 2, 0], 'test': [1, 0, 2]}}
  del page['passport']
  page['sha256'] = store._digest(page)
  (tmp_path / 'out' / 'data.json').write_text(json.dumps(page))
  for path in [*(tmp_path / 'out').glob('*_offsets.npy'), tmp_path / 'out' / 'ids.npy']:
    path.unlink()
  data = load(tmp_path / 'out')
  for own, other in ((data.train, expected.train), (data.test_clients, expected.test_clients)):
    assert list(own.ids) == list(other.ids) and own.sizes.tolist() == other.sizes.tolist()
    assert [e['y'].tolist() for e in own.examples_of(range(2))] == [
      e['y'].tolist() for e in other.examples_of(range(2))
    ]


@pytest.mark.parametrize('problem', [Problem.REGRESSION, Problem.CLASSIFICATION])
def test_the_passport_is_made_at_import(tmp_path, problem):
  source = Numbers()
  source.spec = dataclasses.replace(
    source.spec, y_dtype=np.dtype(np.int32), problem=problem, num_classes=9, label_scale=None
  )
  store.write(source, str(tmp_path / 'out'))
  data = load(tmp_path / 'out')
  assert data.passport == passport.passport(data.train, problem)
  assert data.passport == passport.passport(memory.read(source).train, problem)


def test_checksums_of_large_files_are_compared_when_their_time_changes(tmp_path, monkeypatch):
  monkeypatch.setattr(store, '_LARGE', 100)
  store.write(Numbers(), str(tmp_path / 'out'))
  path = tmp_path / 'out' / 'train_x.npy'
  os.utime(path, ns=(1, 1))
  assert len(load(tmp_path / 'out').train) == 2
  assert json.loads((tmp_path / 'out' / 'verified.json').read_text())['train_x.npy'] == 1
  times = path.stat().st_mtime_ns
  _flip(path)
  os.utime(path, ns=(times, times))
  assert len(load(tmp_path / 'out').train) == 2  # Known by its time.
  os.utime(path, ns=(2, 2))
  with checks.one_line_error('train_x.npy: damaged (its checksum is wrong)'):
    load(tmp_path / 'out')


class Population(Source):
  """Many clients of one training example each; the last has one to be tested on."""

  def __init__(self, count):
    self.found = Found('made up', 'nobody', 'y')
    self.spec = Spec((2,), np.dtype(np.float32), (), np.dtype(np.int32), Problem.CLASSIFICATION, 10)
    tested = np.zeros(count, np.int64)
    tested[-1] = 1
    self.counts = Counts([f'Straße {k}' for k in range(count)], np.ones(count, np.int64), tested)
    self.files, self.preprocessing, self.pooled = {}, {}, False

  def parts(self):
    count = len(self.counts.ids)
    for client in range(count):
      yield Part(client, False, self._example(client))
    yield Part(count - 1, True, self._example(count))

  def _example(self, number):
    return {'x': np.full((1, 2), number, np.float32), 'y': np.array([number % 10], np.int32)}


def test_a_population_opens_without_being_read(tmp_path):
  count = 100_000
  store.write(Population(count), str(tmp_path / 'out'))
  tracemalloc.start()
  begin = time.process_time()
  data = load(tmp_path / 'out')
  sampler = CohortSampler('uniform', 3, data.train.sizes, 7, all_filled=True)
  cohort = sampler.cohort(1)
  examples = data.train.examples_of(cohort)
  seconds, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert seconds < slow_machines.seconds(1)
  assert peak < 8 * count  # The ids alone would take sixty bytes each.
  assert (len(data.train), data.train.num_filled, len(data.test_clients)) == (count, count, 1)
  assert [own['x'].tolist() for own in examples] == [[[p, p]] for p in cohort]
  assert [data.train.ids[p] for p in cohort] == [f'Straße {p}' for p in cohort]
  assert list(data.train.ids[-2:]) == list(data.train.ids)[-2:] == ['Straße 99998', 'Straße 99999']
  assert list(data.test_clients.ids) == ['Straße 99999']
  assert data.passport['clients'] == count and data.passport['examples_gini'] == 0


def test_data_without_clients_stay_without(tmp_path):
  options = DatasetOptions(data_dir='', data_file=str(made.pictures(tmp_path / 'in', '{kind}')))
  store.write(images.open_source(options), str(tmp_path / 'out'))
  data = load(tmp_path / 'out')
  assert isinstance(data, PooledData) and len(data.train['y']) == 24
  assert data.preprocessing['kind'] == 'pictures'


@pytest.mark.parametrize('changes', [[(0, False, 1)], [(1, True, 1)]])
def test_files_that_grow_are_noticed_and_nothing_is_left(tmp_path, changes):
  with checks.one_line_error('have changed while they were read'):
    store.write(Numbers(changes), str(tmp_path / 'out'))
  assert os.listdir(tmp_path) == []


def test_files_that_shrink_are_noticed(tmp_path):
  source = Numbers()
  source.counts = Counts(['a', 'b', 'c'], np.array([3, 2, 1]), np.array([1, 0, 2]))
  with checks.one_line_error('client c have changed'):
    store.write(source, str(tmp_path / 'out'))
  assert os.listdir(tmp_path) == []


def test_an_error_half_way_leaves_nothing(tmp_path):
  class Broken(Numbers):
    def parts(self):
      yield next(super().parts())
      raise UsageError('file.csv: damaged')

  with checks.one_line_error('file.csv: damaged'):
    store.write(Broken(), str(tmp_path / 'deep' / 'out'))
  assert os.listdir(tmp_path / 'deep') == []


def test_what_is_there_is_never_overwritten(tmp_path):
  (tmp_path / 'out').write_text('mine')
  with checks.one_line_error('--write=', 'is there already'):
    store.write(Numbers(), str(tmp_path / 'out'))
  assert (tmp_path / 'out').read_text() == 'mine'


def _cut(path):
  path.write_bytes(path.read_bytes()[:-1])


def _flip(path):
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


def _edit(old, new):
  return lambda path: path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
  'name, damage, words',
  [
    ('train_x.npy', _cut, 'train_x.npy: damaged (167 of 168 bytes)'),
    ('train_y.npy', _flip, 'train_y.npy: damaged (its checksum is wrong)'),
    ('test_x.npy', lambda path: path.unlink(), 'test_x.npy: damaged (not there)'),
    ('preprocessing.npz', _flip, 'preprocessing.npz: damaged (its checksum is wrong)'),
    ('data.json', _cut, 'data.json'),
    ('data.json', _edit('regression', 'binary'), 'data.json: damaged (its checksum is wrong)'),
    ('data.json', _edit('"version": 2', '"version": 3'), 'has version 3, and this program reads 2'),
    ('train_offsets.npy', _flip, 'train_offsets.npy: damaged (its checksum is wrong)'),
    ('data.json', lambda path: path.write_text('[]'), 'is not of experiments.import_data'),
    ('data.json', lambda path: path.write_text('{'), 'data.json: damaged'),
    ('data.json', lambda path: path.unlink(), 'no folder of experiments.import_data'),
  ],
)
def test_damage_is_one_line(tmp_path, name, damage, words):
  store.write(Numbers(), str(tmp_path / 'out'))
  path = tmp_path / 'out' / name
  if name == 'data.json' and damage is _cut:
    path.write_bytes(path.read_bytes()[:-20])
  else:
    damage(path)
  with checks.one_line_error(words):
    load(tmp_path / 'out')


def test_memory_does_not_grow_with_the_data(tmp_path):
  class Many(Numbers):
    def parts(self):
      for client in range(3):
        for _ in range(20):
          yield Part(client, False, {'x': np.ones((50_000, 2), np.float32), 'y': np.ones(50_000)})

  source = Many()
  source.counts = Counts(['a', 'b', 'c'], np.full(3, 1_000_000), np.zeros(3, np.int64))
  tracemalloc.start()
  store.write(source, str(tmp_path / 'out'))
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 4 << 20 and os.path.getsize(tmp_path / 'out' / 'train_x.npy') > 24_000_000


def test_nothing_is_ever_unpickled(tmp_path):
  store.write(Numbers(), str(tmp_path / 'out'))
  for path in (tmp_path / 'out').iterdir():
    assert b'pickle' not in path.read_bytes()
