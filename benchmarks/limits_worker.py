"""The processes of `benchmarks.limits`: each prints its figures as lines of JSON.

python -m benchmarks.limits_worker model <parameters> <clients> <at the same time>
python -m benchmarks.limits_worker write_index <folder> <clients>
python -m benchmarks.limits_worker open_index <folder> <form>
python -m benchmarks.limits_worker states <clients> <floats> <population>
python -m benchmarks.limits_worker bookkeeping <rounds>
"""

from collections.abc import Callable, Iterator, Mapping
import functools
import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np

_COHORT = 50


def _tell(**figures: Any) -> None:
  # In one piece, as two threads tell.
  sys.stdout.write(json.dumps(figures) + '\n')
  sys.stdout.flush()


def memory(field: str) -> float:
  """A field of this process's status, in MiB: VmRSS, VmHWM, RssAnon."""
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f'{field}:'))


def _seconds(action: Callable[[], object]) -> float:
  begin = time.perf_counter()
  action()
  return time.perf_counter() - begin


class _Stages:
  """Peak and resident memory of stages, and its course, beyond what it was before."""

  def __init__(self):
    self._base = memory('VmRSS')
    self._begin = time.monotonic()
    threading.Thread(target=self._watch, daemon=True).start()

  def _watch(self) -> None:
    while True:
      seconds, resident = time.monotonic() - self._begin, memory('VmRSS') - self._base
      _tell(seconds=round(seconds, 2), mib=round(resident, 1))
      time.sleep(0.1)

  def end(self, stage: str) -> None:
    """Tells of the stage that ends here."""
    peak, resident = memory('VmHWM') - self._base, memory('VmRSS') - self._base
    ends = round(time.monotonic() - self._begin, 2)
    _tell(stage=stage, peak_mib=round(peak), resident_mib=round(resident), ends=ends)
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # The peak begins anew.


def model(parameters: int, clients: int, parallel: int) -> None:
  """Rounds, an evaluation, a checkpoint and a resumption of a perceptron of so many parameters."""
  from fl_research import aggregation, algorithms, client_data, optimizers, runtime
  from fl_research.datasets.federated_data import Problem
  from fl_research.models import mlp
  from fl_research.models.model import Model
  from fl_research.models.specification import ModelSpec
  from fl_research.round import composition
  from fl_research.round.parts import Parts
  from fl_research.training import checkpoints, evaluation, loop

  runtime.set_context('fused', client_parallelism=parallel)
  stages = _Stages()
  types: Any = {'x_dtype': np.dtype(np.float32), 'label_dtype': np.dtype(np.int32)}
  spec = ModelSpec(
    input_shape=(784,), label_shape=(), problem=Problem.CLASSIFICATION, num_classes=10, **types
  )
  width = int((-794 + (794**2 + 4 * parameters) ** 0.5) / 2)
  network = mlp.build(spec, hidden_units=width, hidden_layers=2, normalization='none', embedding=8)
  own = Model(network, spec, 0)
  _tell(parameters=own.num_parameters, model_mib=round(own.num_parameters * 4 / 2**20, 1))
  runtime.memory.prepare(own.num_parameters)
  stages.end('model')
  process = composition.build_process(
    Parts(
      model=own,
      method=algorithms.build('fedavg', {}),
      client_optimizer=optimizers.build('sgd', 0.01, {}),
      server_optimizer=optimizers.build('sgd', 1.0, {}),
      aggregator=aggregation.build('mean', {}),
      batch_size=10,
      population_size=100,
    )
  )
  state = process.initialize()
  stages.end('start')
  draw = np.random.default_rng(0)

  def make(count: int) -> Mapping[str, np.ndarray]:
    x = draw.standard_normal((count, 784), np.float32)
    return {'x': x, 'y': draw.integers(0, 10, count, np.int32)}

  examples = [make(20) for _ in range(clients)]
  for round_num in (1, 2, 3):
    common: Any = {'batch_size': 10, 'seed': 0, 'round_num': round_num, 'clients': range(clients)}
    cohort = client_data.cohort_data(examples, epochs=[1.0] * clients, **common)
    state = process.run_round(state, runtime.stack_clients(cohort)).state
    stages.end(f'round {round_num}')
  tested = evaluation.ExampleSet(make(512))
  evaluation.Evaluator(own).columns(process.model_weights(state), tested)
  stages.end('evaluation')
  with tempfile.TemporaryDirectory() as scratch:
    store = checkpoints.CheckpointStore(pathlib.Path(scratch), 2)
    store.save(loop.to_checkpoint(loop.Progress(3, state, None)))
    stages.end('checkpoint')
    del state
    checkpoint = store.restore()
    assert checkpoint is not None
    loop.from_checkpoint(process, checkpoint, None)
    stages.end('resumption')


def _ids(count: int) -> Iterator[str]:
  return (f'phone-{k * 7919 % count:08d}' for k in range(count))


def write_index(folder: str, count: int) -> None:
  """An imported folder of so many clients, of one example each, and its index in other forms."""
  import sqlite3
  from unittest import mock

  import pandas as pd

  from fl_research.datasets.federated_data import Problem
  from fl_research.importing import store
  from fl_research.importing.source import Counts, Found, Part, Source, Spec

  class Phones(Source):
    """A number to be told its last digit."""

    found, files, preprocessing, pooled = Found('made', 'made', 'made'), {}, {}, False
    spec = Spec(
      (1,), np.dtype(np.float32), (), np.dtype(np.int32), Problem.CLASSIFICATION, 10
    )  # fmt: skip
    counts = Counts(list(_ids(count)), np.ones(count, np.int64), (np.arange(count) < 100) * 1)

    def parts(self) -> Iterator[Part]:
      raise NotImplementedError

  def write_arrays(source: Source, at: pathlib.Path, watch: Any) -> None:
    """All examples at once: one by one takes minutes, and is not what is measured."""
    del source, watch
    for split, clients in (('train', count), ('test', 100)):
      y = np.arange(clients, dtype=np.int32) % 10
      np.save(at / f'{split}_y.npy', y)
      np.save(at / f'{split}_x.npy', y[:, np.newaxis].astype(np.float32))

  with mock.patch.object(store, '_write_arrays', write_arrays):
    _tell(form='ours', seconds_to_write=_seconds(lambda: store.write(Phones(), f'{folder}/ours')))
  frame = pd.DataFrame({'id': list(_ids(count)), 'first_row': np.arange(count), 'size': 1})
  path = f'{folder}/index.parquet'
  _tell(form='parquet', seconds_to_write=_seconds(lambda: frame.to_parquet(path)))
  with sqlite3.connect(f'{folder}/index.sqlite') as database:
    rows = frame.itertuples(name=None)
    database.execute('CREATE TABLE clients (k INTEGER PRIMARY KEY, id TEXT, first_row, size)')
    insert = 'INSERT INTO clients VALUES (?, ?, ?, ?)'
    _tell(form='sqlite', seconds_to_write=_seconds(lambda: database.executemany(insert, rows)))


def open_index(folder: str, form: str) -> None:
  """Time and memory of opening a population, and of a hundred cohorts."""
  opened = {'ours': _open_ours, 'parquet': _open_parquet, 'sqlite': _open_sqlite}[form]
  opened(folder, imports_only=True)
  before, resident = memory('RssAnon'), memory('VmRSS')
  begin = time.perf_counter()
  count, look_up = opened(folder)
  seconds = time.perf_counter() - begin
  draw = np.random.default_rng(0)
  cohorts = [np.sort(draw.choice(count, _COHORT, replace=False)) for _ in range(100)]
  looked_up = statistics.median(_seconds(functools.partial(look_up, own)) for own in cohorts)
  _tell(
    form=form,
    clients=count,
    seconds_to_open=seconds,
    ms_of_a_cohort=1000 * looked_up,
    own_bytes_a_client=(memory('RssAnon') - before) * 2**20 / count,
    all_bytes_a_client=(memory('VmRSS') - resident) * 2**20 / count,
  )


Opened = tuple[int, Callable[[np.ndarray], object]]


def _open_ours(folder: str, imports_only: bool = False) -> Any:
  """As a run opens it, with the passport and the drawing of cohorts."""
  from fl_research.population.cohorts import CohortSampler
  from fl_research.settings import Settings
  from fl_research.training import run_data

  if imports_only:
    return None
  data = run_data.load(Settings(task='imported', data_file=f'{folder}/ours'))
  train = data.train
  CohortSampler('uniform', _COHORT, train.sizes, 0, all_filled=True).cohort(1)
  return len(train), lambda cohort: ([train.ids[k] for k in cohort], train.examples_of(cohort))


def _open_parquet(folder: str, imports_only: bool = False) -> Any:
  """As Arrow has it: read whole, as a client cannot be found in compressed pages."""
  import pyarrow.parquet

  if imports_only:
    return None
  table = pyarrow.parquet.read_table(f'{folder}/index.parquet', memory_map=True)
  return len(table), lambda cohort: table.take(cohort).to_pylist()


def _open_sqlite(folder: str, imports_only: bool = False) -> Any:
  """By the number of the client, which is the row's."""
  import sqlite3

  if imports_only:
    return None
  database = sqlite3.connect(f'{folder}/index.sqlite')
  [[count]] = database.execute('SELECT MAX(k) + 1 FROM clients')
  of = 'SELECT id, first_row, size FROM clients WHERE k = ?'
  look_up = lambda cohort: [database.execute(of, (int(k),)).fetchone() for k in cohort]
  return count, look_up


def states(clients: int, floats: int, population: int) -> None:
  """The states of so many clients, drawn of a population, a cohort in each round."""
  from fl_research.training import checkpoints, client_states

  draw = np.random.default_rng(0)
  drawn = draw.choice(population, clients, replace=False)
  base = memory('VmRSS')
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    kept = client_states.ClientStates([np.zeros(floats, np.float32)], folder / client_states.FILE)
    store = checkpoints.CheckpointStore(folder, 3, kept)
    again = [draw.choice(drawn, _COHORT, replace=False) for _ in range(20)]
    cohorts = [*np.split(drawn, range(_COHORT, clients, _COHORT)), *again]
    first = len(cohorts) - len(again)
    for number, ids in enumerate(cohorts, 1):
      new = [np.full([len(ids), floats], number, np.float32)]
      save = checkpoints.Checkpoint(number, [np.zeros(1000)], {})
      figures = {
        'get_ms': 1000 * _seconds(lambda: kept.get(ids)),  # noqa: B023
        'put_ms': 1000 * _seconds(lambda: kept.put(ids, new)),  # noqa: B023
        'checkpoint_ms': 1000 * _seconds(lambda: store.save(save)),  # noqa: B023
      }
      what = 'first' if number <= first else 'again'
      held = min(number, first) * _COHORT
      _tell(round=number, held=held, what=what, mib=memory('VmRSS') - base, **figures)
    kept.close()
    kept = client_states.ClientStates([np.zeros(floats, np.float32)], folder / client_states.FILE)
    store = checkpoints.CheckpointStore(folder, 3, kept)
    size = (folder / client_states.FILE).stat().st_size / 1e9
    _tell(what='resumption', seconds=_seconds(store.restore), file_gb=size)
    kept.close()


def bookkeeping(rounds: int) -> None:
  """What is written after a round of W1, early in a run and after so many rounds."""
  from benchmarks import works
  from benchmarks.competitors import ours
  from fl_research.settings import Settings
  from fl_research.training import (
    checkpoints,
    loop,
    run_folder,
    run_observers,
    tensorboard,
    terminal,
  )

  with tempfile.TemporaryDirectory() as scratch:
    works.save(works.WORKS['W1'], pathlib.Path(scratch) / 'W1.npz')
    program = ours.Ours(works.Job.load('W1', pathlib.Path(scratch) / 'W1.npz'), 'fused')
    weights = [np.asarray(w) for w in program.weights()]
    folder = run_folder.RunFolder(Settings(output_dir=scratch, experiment_name='run'))
    folder.path.mkdir()
    folder.finish({'flags': {}, 'identity': {}, 'method_flags': {}})
    tables = run_observers.Tables(folder, -1, by_client=True, every_row=False)
    board = tensorboard.Writer(folder.logdir, -1)
    bar = terminal.ProgressBar(2 * rounds, 0, 'accuracy')
    store = checkpoints.CheckpointStore(folder.checkpoints, 3)
    remember = lambda: folder.finish({'runtime': program.facts()})
    columns = [f'phase/metric_{k}' for k in range(24)]
    row = lambda r: {'round': r, **{name: 0.1 + r / (k + 3) for k, name in enumerate(columns)}}
    clients = lambda r: [
      {'round': r, 'client_id': f'client_{k:03d}', 'phase': 'train', 'num_examples': 600}
      | {'metric': metric, 'value': 0.1 + r / 7}
      for k in range(10)
      for metric in ('loss', 'accuracy')
    ]
    progress = loop.Progress(0, weights, None)

    def saved(r: int) -> None:
      progress.round_num = r
      tables.checkpoint(progress)
      remember()
      store.save(loop.to_checkpoint(progress))

    actions = {
      'a row of metrics.csv': lambda r: tables.row(row(r)),
      'twenty rows of clients.csv': lambda r: tables.client_rows(clients(r)),
      'TensorBoard': lambda r: board.row(row(r)),
      'progress bar': lambda r: bar.row(row(r) | {'seconds': 0.1}),
      'a checkpoint': saved,
    }
    with bar:
      for r in range(1, 31):
        _tell(what='a round of W1', when='', ms=1000 * _seconds(lambda: program.round(r)))  # noqa: B023
      for when, start in (('early', 0), ('late', rounds)):
        if start:
          # What a run of so many rounds has left by then.
          tables._metrics.append([row(r) for r in range(31, start + 1)])
          tables._clients.append([own for r in range(31, start + 1) for own in clients(r)])
          for r in range(31, start + 1):
            board.row(row(r))
            bar.row(row(r) | {'seconds': 0.1})
        for r in range(start + 1, start + 31):
          for what, action in actions.items():
            _tell(what=what, when=when, ms=1000 * _seconds(lambda: action(r)))  # noqa: B023
        _tell(what='memory', when=when, mib=memory('VmRSS'))
    board.close()


def main(argv: list[str]) -> None:
  """Runs what the first argument names with the others, numbers as such."""
  name, *arguments = argv
  run: Callable[..., None] = globals()[name]
  run(*(int(text) if text.isdigit() else text for text in arguments))


if __name__ == '__main__':
  main(sys.argv[1:])
