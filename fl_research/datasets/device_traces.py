"""Real phones: when they are ready to train, how fast they compute, how fast they send.

The measurements behind FLASH (Yang, Wang, Xu, Chen, Bian, Liu, Liu 2021, "Characterizing Impacts of
Heterogeneity in Federated Learning upon Large-Scale Smartphone Data"), in their original files:

- `cached_timers.json`, by phone: `trace_start`, `trace_end` and `ready_time`, the intervals in
  which it was idle, charging and on WiFi; seconds on the phone's own clock, from a midnight on.
  1,000 phones, of which 710 have `isSuccess`; the others' logs could not be read.
- `real2benchmark.json`: the models of the phones whose owners were traced, by the names that AI
  Benchmark has for them, or `unknown`; `benchmark2score.json`: AI Benchmark's score of a model.
- `speed_distri.json`, by user: mean and standard deviation of the download (`down_u`, `down_sigma`)
  and of the upload speed in kB/s.

Files of one's own in these formats are read just the same. Models and speeds are those of other
users than the intervals, as the published files do not say who is who.
"""

from collections.abc import Callable, Mapping
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from fl_research.datasets import files
from fl_research.registry import UsageError

FOLDER = 'device_traces'
INTERVALS, SPEEDS = 'cached_timers.json', 'speed_distri.json'
NAMES, SCORES = 'real2benchmark.json', 'benchmark2score.json'

_FLASH = (
  'https://raw.githubusercontent.com/PKU-Chengxu/FLASH/55cbede0131877b583ed55333e980985a1925afd/'
  'models/'
)
_ADDRESSES = {
  INTERVALS: (
    'https://raw.githubusercontent.com/Carkham/FLHetBench/'
    '633c07138b0cfb1dc2e65c5c8462993a5a7bfb14/data/cached_timers.json'
  ),
  SPEEDS: f'{_FLASH}{SPEEDS}',
  NAMES: f'{_FLASH}utils/device_util/{NAMES}',
  SCORES: f'{_FLASH}utils/device_util/{SCORES}',
}
_UNKNOWN = 'unknown'
_BYTES = 1000.0


@dataclasses.dataclass(frozen=True)
class Intervals:
  """When phones are ready, for ever: their traces begin anew when they end.

  Attributes:
    phone, begin, duration, period: int64 [intervals]: phone p is ready at the second t if and only
      if (t - begin) mod period < duration for one of its intervals. They do not touch each other;
      duration = period for a phone that is always ready.
    count: number of phones, those included that are never ready.
    sources: checksum of the file.
  """

  phone: np.ndarray
  begin: np.ndarray
  duration: np.ndarray
  period: np.ndarray
  count: int
  sources: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Phones:
  """How fast phones and their connections are.

  Attributes:
    scores: AI Benchmark's score of each traced model of phone: float64 [models].
    speeds: of each network user, mean and standard deviation of the download, then of the upload
      speed in bytes per second: float64 [users, 2, 2].
    sources: checksums of the files.
  """

  scores: np.ndarray
  speeds: np.ndarray
  sources: Mapping[str, str]


def load_intervals(data_dir: str) -> Intervals:
  """Reads when the phones are ready.

  Raises:
    UsageError: the file is missing, damaged, or not in the format.
  """
  path, records = _records(data_dir, INTERVALS)
  valid = [key for key, record in records.items() if _field(path, key, record, 'isSuccess')]
  rows = [
    (phone, *interval)
    for phone, key in enumerate(valid)
    for interval in _intervals(path, key, records[key])
  ]
  if not rows:
    raise UsageError(f'{path}: no phone is ever ready in it')
  phone, begin, duration, period = np.array(rows, np.int64).T
  return Intervals(phone, begin, duration, period, len(valid), {INTERVALS: files.sha256_of(path)})


def load_phones(data_dir: str) -> Phones:
  """Reads how fast phones and connections are.

  Raises:
    UsageError: a file is missing, damaged, or not in the format.
  """
  (names_path, names), (path, score_of) = (_records(data_dir, name) for name in (NAMES, SCORES))
  known = [name for name in names.values() if name in score_of and name != _UNKNOWN]
  if not known:
    raise UsageError(f'{names_path}: names no model that has a score in {path}')
  scores = np.array([_number(path, name, score_of[name]) for name in known])
  if scores.min() <= 0:
    raise UsageError(f'{path}: {known[int(scores.argmin())]} has no score above 0')
  speeds_path, users = _records(data_dir, SPEEDS)
  speeds = [_speeds(speeds_path, key, user) for key, user in users.items()]
  if not speeds:
    raise UsageError(f'{speeds_path}: no user is in it')
  paths = (names_path, path, speeds_path)
  return Phones(scores, np.array(speeds), {p.name: files.sha256_of(p) for p in paths})


def _records(data_dir: str, name: str) -> tuple[pathlib.Path, dict[str, Any]]:
  """A file's path and its JSON object."""
  # No checksum: traces of one's own are as good, and which they were stands in the manifest.
  path = files.fetch(data_dir, FOLDER, name, _ADDRESSES[name])
  try:
    records = json.loads(files.read_bytes(path))
  except ValueError as error:
    raise UsageError(f'{path}: is not JSON ({files.one_line(error)})') from error
  if not isinstance(records, dict):
    raise UsageError(f'{path}: must hold a JSON object')
  return path, records


def _field(path: pathlib.Path, key: str, record: Any, name: str) -> Any:
  if not isinstance(record, dict) or name not in record:
    raise UsageError(f'{path}: {key} has no {name}')
  return record[name]


def _number(path: pathlib.Path, key: str, value: Any) -> float:
  if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
    raise UsageError(f'{path}: {key} has {value!r} where a number must be')
  return float(value)


def _speeds(path: pathlib.Path, key: str, user: Any) -> list[list[float]]:
  """Mean and deviation of a user's download and upload in bytes per second."""
  value: Callable[[str], float] = lambda name: _number(path, key, _field(path, key, user, name))
  speeds = [[value(f'{way}_u'), value(f'{way}_sigma')] for way in ('down', 'up')]
  if min(mean for mean, _ in speeds) <= 0 or min(sigma for _, sigma in speeds) < 0:
    raise UsageError(f'{path}: {key} must have means above 0 and deviations from 0 on')
  return [[_BYTES * number for number in pair] for pair in speeds]


def _intervals(path: pathlib.Path, key: str, record: Any) -> list[tuple[int, int, int]]:
  """(begin, duration, period) of a phone's intervals, which no longer touch each other."""
  field = lambda name: _field(path, key, record, name)
  start, end = (_second(path, key, field(name)) for name in ('trace_start', 'trace_end'))
  pairs = [_pair(path, key, pair) for pair in field('ready_time')]
  if any(not start <= a <= b <= end for a, b in pairs) or start >= end:
    raise UsageError(f'{path}: {key} must have intervals within its trace, the end after the start')
  merged = _around(_union(pairs), start, end)
  return [(a, b - a, end - start) for a, b in merged]


def _second(path: pathlib.Path, key: str, value: Any) -> int:
  number = _number(path, key, value)
  if number != int(number):
    raise UsageError(f'{path}: {key} has {value}; times must be whole seconds')
  return int(number)


def _pair(path: pathlib.Path, key: str, pair: Any) -> tuple[int, int]:
  if not isinstance(pair, list) or len(pair) != 2:
    raise UsageError(f'{path}: {key} has an interval that is not [begin, end]')
  return _second(path, key, pair[0]), _second(path, key, pair[1])


def _union(pairs: list[tuple[int, int]]) -> list[list[int]]:
  """The intervals, half open, in order and without those of no length; touching ones are one."""
  merged: list[list[int]] = []
  for begin, end in sorted(pairs):
    if begin == end:
      continue
    if merged and begin <= merged[-1][1]:
      merged[-1][1] = max(merged[-1][1], end)
    else:
      merged.append([begin, end])
  return merged


def _around(merged: list[list[int]], start: int, end: int) -> list[list[int]]:
  """Joins what goes on when the trace begins anew."""
  if len(merged) > 1 and merged[0][0] == start and merged[-1][1] == end:
    (_, first_end), *rest = merged
    rest[-1][1] += first_end - start
    return rest
  return merged
