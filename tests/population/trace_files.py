"""Files in the original formats of device traces, with what a test says in them."""

import json

from hypothesis import strategies as st

from fl_research.datasets import device_traces
from fl_research.population import readiness

ALIKE = {'down_u': 750.0, 'down_sigma': 0.0, 'up_u': 250.0, 'up_sigma': 0.0}
"""A network user whose speeds are the defaults of `--devices=model`, and always the same."""

FAILED = {'isSuccess': False, 'trace_start': None, 'trace_end': None, 'ready_time': []}
"""A phone whose log could not be read, as the published file has it."""


def timer(start, end, *pairs):
  """A phone's record: its trace, and the intervals in which it is ready."""
  times = [[float(a), float(b)] for a, b in pairs]
  fields = {'trace_start': float(start), 'trace_end': float(end), 'ready_time': times}
  return {'isSuccess': True, **fields}


def write(data_dir, timers=(), scores=(1000,), users=(ALIKE,)):
  """Writes all files below a folder of data; gives the folder as text."""
  folder = data_dir / device_traces.FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  models = {f'Phone {i}': score for i, score in enumerate(scores)}
  contents = {
    device_traces.INTERVALS: {str(i): record for i, record in enumerate(timers)},
    device_traces.SPEEDS: {f'user-{i}': user for i, user in enumerate(users)},
    device_traces.NAMES: {'X1': 'unknown', **{name.upper(): name for name in models}, 'X2': 'None'},
    device_traces.SCORES: models,
  }
  for name, content in contents.items():
    (folder / name).write_text(json.dumps(content, indent=2))
  return str(data_dir)


def readiness_of(data_dir, records, num_clients, seed=3):
  """Whose phones are ready when, from a file of these records."""
  intervals = device_traces.load_intervals(write(data_dir, records))
  return readiness.Readiness(intervals, num_clients, seed)


@st.composite
def timers(draw):
  """Traces of some phones, with intervals that may touch, overlap, and have no length."""
  records = []
  for _ in range(draw(st.integers(1, 4))):
    start, length = draw(st.integers(0, 90)), draw(st.integers(3, 40))
    times = st.integers(start, start + length)
    pairs = draw(st.lists(st.tuples(times, times).map(sorted), max_size=6))
    records.append(timer(start, start + length, *pairs))
  return records


def is_ready(record, second):
  """Whether a phone is ready, read off its record."""
  start, end = record['trace_start'], record['trace_end']
  now = start + (second - start) % (end - start)
  return any(a <= now < b for a, b in record['ready_time'])
