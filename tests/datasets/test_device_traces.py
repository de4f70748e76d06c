"""Device traces: the original formats, and what is said of files that are not in them."""

import json

import hypothesis
import numpy as np
import pytest

from fl_research.datasets import device_traces
from fl_research.registry import UsageError
from tests.population import trace_files

DAY = 86_400


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(trace_files.timers())
def test_intervals_are_those_of_the_file(tmp_path_factory, records):
  folder = tmp_path_factory.mktemp('traces')
  data_dir = trace_files.write(folder, [*records, trace_files.FAILED])
  ready = np.array(
    [[trace_files.is_ready(record, second) for second in range(200)] for record in records]
  )
  if not ready.any():
    with pytest.raises(UsageError, match=r'cached_timers\.json: no phone is ever ready in it'):
      device_traces.load_intervals(data_dir)
    return
  found = device_traces.load_intervals(data_dir)
  assert found.count == len(records)
  covers = np.zeros((found.count, 200), int)
  for phone, begin, duration, period in zip(
    found.phone, found.begin, found.duration, found.period, strict=True
  ):
    covers[phone] += (np.arange(200) - begin) % period < duration
  # Every second once: intervals neither overlap nor leave anything out.
  np.testing.assert_array_equal(covers, ready)
  begins = ready & ~np.roll(ready, 1, axis=1)
  for phone, record in enumerate(records):
    length = int(record['trace_end'] - record['trace_start'])
    if not ready[phone].all():
      assert np.sum(found.phone == phone) == begins[phone, 1 : 1 + length].sum()
    else:
      assert (found.duration == found.period)[found.phone == phone].tolist() == [True]


def test_phones_and_connections(tmp_path):
  users = [trace_files.ALIKE, {'down_u': 2, 'down_sigma': 1.5, 'up_u': 4.25, 'up_sigma': 3}]
  data_dir = trace_files.write(tmp_path, scores=[30, 10, 20], users=users)
  found = device_traces.load_phones(data_dir)
  assert found.scores.tolist() == [30.0, 10.0, 20.0]
  assert found.speeds.tolist() == [[[750e3, 0], [250e3, 0]], [[2e3, 1.5e3], [4.25e3, 3e3]]]
  assert sorted(found.sources) == [
    'benchmark2score.json',
    'real2benchmark.json',
    'speed_distri.json',
  ]


TIMER = trace_files.timer(0, DAY, (5, 10))
WRONG = {
  'cached_timers.json': [
    ('[1', 'is not JSON'),
    ('[]', 'must hold a JSON object'),
    ({'7': []}, '7 has no isSuccess'),
    ({'7': {'isSuccess': True}}, '7 has no trace_start'),
    ({'7': {**TIMER, 'trace_end': None}}, '7 has None where a number must be'),
    ({'7': {**TIMER, 'trace_end': 0.5}}, '7 has 0.5; times must be whole seconds'),
    ({'7': {**TIMER, 'trace_end': 9}}, '7 must have intervals within its trace'),
    ({'7': {**TIMER, 'trace_start': 6}}, '7 must have intervals within its trace'),
    ({'7': {**TIMER, 'ready_time': [[6, 5]]}}, '7 must have intervals within its trace'),
    ({'7': trace_files.timer(4, 4)}, 'the end after the start'),
    ({'7': {**TIMER, 'ready_time': [5, 6]}}, '7 has an interval that is not [begin, end]'),
    ({'7': trace_files.timer(0, DAY, (5, 5))}, 'no phone is ever ready'),
  ],
  'speed_distri.json': [
    ({}, 'no user is in it'),
    ({'u': {**trace_files.ALIKE, 'up_u': 0}}, 'u must have means above 0'),
    ({'u': {**trace_files.ALIKE, 'up_sigma': -1}}, 'u must have means above 0'),
    ({'u': {'down_u': 1}}, 'u has no down_sigma'),
    ({'u': {**trace_files.ALIKE, 'up_u': 'fast'}}, "u has 'fast' where a number must be"),
    ('{"u": {"down_u": NaN, "down_sigma": 1}}', 'u has nan where a number must be'),
  ],
  'real2benchmark.json': [({'X': 'unknown'}, 'names no model that has a score in')],
  'benchmark2score.json': [
    ({'Phone 0': 0}, 'Phone 0 has no score above 0'),
    ({'Phone 0': True}, 'Phone 0 has True where a number must be'),
  ],
}


@pytest.mark.parametrize(
  'name, content, message', [(name, *case) for name, cases in WRONG.items() for case in cases]
)
def test_files_that_are_not_in_the_format(name, content, message, tmp_path):
  data_dir = trace_files.write(tmp_path, [TIMER])
  path = tmp_path / device_traces.FOLDER / name
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  load = device_traces.load_phones
  if name == device_traces.INTERVALS:
    load = device_traces.load_intervals
  with pytest.raises(UsageError) as caught:
    load(data_dir)
  assert name in str(caught.value) and message in str(caught.value)
  assert '\n' not in str(caught.value)
