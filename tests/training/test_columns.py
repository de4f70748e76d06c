"""Columns of metrics.csv: what is listed is what is written."""

import dataclasses
import types

import numpy as np
import pytest

from fl_research.datasets.federated_data import Problem
from fl_research.population import cohorts, devices, participation
from fl_research.training import columns, model_evaluation

PLAN = participation.RoundPlan(
  selected=np.array([0, 1, 2, 3]),
  uploading=np.array([1, 2, 3]),
  epochs=np.ones(3),
  stragglers=1,
  dropouts=1,
  last_dropout=0.0,
)
DATA = types.SimpleNamespace(
  problem=Problem.CLASSIFICATION,
  num_classes=3,
  train=types.SimpleNamespace(ids=['a', 'b', 'c', 'd'], sizes=np.array([1, 10, 20, 30])),
)
REPORT = {
  'num_examples': [10, 20, 30],
  'finite': [1, 0, 1],
  'bytes_up': [5, 5, 7],
  'num': [10, 20, 30],
  'loss': [10, np.nan, 60],
  'accuracy': [5, 20, 15],
  'method/drift': [0.5, 9, 2],
}


MEASURED = {
  'report': {
    'client': np.array([3, 1, 2]),
    'values': np.array(list(REPORT.values())).T[[2, 0, 1]],
  },
  'method': {'norm': np.float32(0.5), 'spread': np.int32(4)},
}


class Process:
  """What columns ask of a process; the runtime gives reports in another order."""

  report_columns = tuple(REPORT)
  aggregation_columns = ('clipped',)
  method_columns = ('norm', 'spread')
  bytes_down_per_client = 100
  bytes_up_per_client = 8

  def training_metrics(self, measured):
    return measured.get('training')

  def aggregation_metrics(self, measured):
    return {'clipped': 0.25}

  def method_metrics(self, measured):
    return {name: measured['method'][name].item() for name in self.method_columns}


def trained(plan=PLAN):
  return columns.TrainedRound(Process(), DATA, plan, MEASURED, 4)


def row(record):
  epsilon = {'privacy/epsilon': lambda round_num: 2.0 * round_num}
  tables = columns.contributors(Process(), DATA, ['eval/loss'], epsilon)
  return {name: value(record) for table in tables for name, value in table.items()}


def test_a_row_and_its_order():
  assert list(row(columns.Record(3, trained(), {'eval/loss': 0.75}, 1.5, 9.0)).items()) == [
    ('train/loss', 70 / 40),
    ('train/accuracy', 0.5),
    ('eval/loss', 0.75),
    ('aggregation/clipped', 0.25),
    ('method/norm', 0.5),
    ('method/spread', 4),
    ('privacy/epsilon', 6.0),
    ('cohort_size', 4),
    ('cohort_examples', 60),
    ('participants', 2),
    ('stragglers', 1),
    ('dropouts', 1),
    ('rejected', 1),
    ('rejected_clients', 'c'),
    ('bytes_down', 400),
    ('bytes_up', 17),
    ('bytes_up_uncompressed', 24),
    ('simulated_hours', 1.5),
    ('seconds', 9.0),
  ]


def test_before_the_first_round_and_without_evaluation_cells_are_empty():
  first = row(columns.Record(0, None, {'eval/loss': 1.0}, None, 2.0))
  filled = {name: value for name, value in first.items() if value is not None}
  assert filled == {'eval/loss': 1.0, 'privacy/epsilon': 0.0, 'seconds': 2.0}
  assert row(columns.Record(1, trained(), {}, 0.0, 1.0))['eval/loss'] is None


def test_numbers_of_clients_are_those_that_count_the_methods_own_among_them():
  rows = model_evaluation.long_rows('train', *trained().by_client())
  assert [(r['client_id'], r['num_examples'], r['metric'], r['value']) for r in rows] == [
    ('b', 10, 'loss', 1.0),
    ('d', 30, 'loss', 2.0),
    ('b', 10, 'accuracy', 0.5),
    ('d', 30, 'accuracy', 0.5),
    ('b', 10, 'method/drift', 0.5),
    ('d', 30, 'method/drift', 2.0),
  ]


def test_where_clients_do_not_report_training_the_process_does():
  def of(training, clients=3):
    report = {name: values[:clients] for name, values in MEASURED['report'].items()}
    measured = {**MEASURED, 'report': report, 'training': training}
    given = columns.TrainedRound(Process(), DATA, PLAN, measured, 4)
    assert given.by_client()[0] == []
    found = row(columns.Record(4, given, {}, 0.0, 1.0))
    return found['train/loss'], found['train/accuracy']

  assert of({'loss': 1.5, 'accuracy': 0.25}) == (1.5, 0.25)
  assert of({}) == (None, None)
  # Of nobody there is no mean.
  assert np.isnan(of({'loss': 0.0, 'accuracy': 0.0}, clients=0)).all()


CLOCK = devices.Devices(2.0, 50.0, 1.0, 0.0, seed=0)


def plans(clock=CLOCK, max_examples=None):
  sampler = cohorts.CohortSampler('uniform', 4, DATA.train.sizes, seed=0)
  return participation.Participation(
    sampler, 0, 1.0, 0.0, True, 0.0, clock, 100, 8, 0, max_examples=max_examples
  )


@pytest.mark.parametrize('max_examples, visited', [(None, 30), (12, 12), (40, 30)])
def test_the_virtual_clock_waits_for_the_slowest(max_examples, visited):
  seconds = trained().simulated_seconds(plans(max_examples=max_examples))
  assert seconds == pytest.approx(2 * visited + 100 / 50 + 7)


def test_nobody_who_uploads_takes_no_time():
  nothing = np.array([], int)
  nobody = dataclasses.replace(PLAN, uploading=nothing, epochs=nothing)
  report = {'client': np.array([], int), 'values': np.zeros((0, len(REPORT)))}
  empty = columns.TrainedRound(Process(), DATA, nobody, {'report': report}, 4)
  assert empty.simulated_seconds(plans()) == 0.0


@pytest.mark.parametrize('last_dropout, expected', [(68.0, 69.0), (70.0, 70.0)])
def test_the_virtual_clock_waits_for_a_client_that_drops_out_later(last_dropout, expected):
  plan = dataclasses.replace(PLAN, last_dropout=last_dropout)
  assert trained(plan).simulated_seconds(plans()) == expected


def test_the_virtual_clock_tells_rounds_apart_by_their_number():
  asked = []

  class Clock:
    def seconds(self, clients, examples, bytes_down, bytes_up, event):
      asked.append(event)
      return np.zeros(len(clients))

  trained().simulated_seconds(plans(Clock()))
  assert asked == [4]
