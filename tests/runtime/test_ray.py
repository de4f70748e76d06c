"""The Ray runtime: two local nodes, actors that die, and the fused runtime's bits.

All tests share one cluster, whose nodes are processes of this machine; it takes some ten seconds to
start. Those that need none of it come first.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fl_research import runtime  # before TensorFlow
from fl_research.registry import UsageError
from fl_research.runtime import errors, ray_cluster
from tests import graphs, soak_kills
from tests.runtime import described_clients, rounds, test_slices
from tests.training import runs

ray = pytest.importorskip('ray', reason='`make ray` installs it')

SIZES = (7, 0, 12, 3, 8, 30, 5, 9, 1, 4, 16)
METHODS = {
  'stateless': ('--algorithm=fedavg',),
  'stateful': ('--algorithm=scaffold',),
  'compressed': ('--compressor=top_k:0.1', '--max_examples_per_client=40'),
  'private': ('--dp_noise_multiplier=0.5', '--dp_clip_norm=1'),
  'asynchronous': ('--aggregation_trigger=buffer', '--buffer_size=2'),
  'robust': ('--aggregator=median', '--client_epochs_per_round=2'),
}
"""What is run on both runtimes, by what it is an example of."""


def test_a_missing_ray_is_one_line(monkeypatch):
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(UsageError, match='`make ray`'):
    ray_cluster.check_installed()


@pytest.mark.parametrize(
  ('flags', 'complaint'),
  [
    (['--ray_address=auto'], 'only read with --runtime=ray'),
    (['--runtime=ray', '--jit=auto'], 'not with --runtime=ray'),
    (['--runtime=ray', '--ray_address=ray://a:1'], 'host:port'),
    (['--runtime=ray', '--ray_address=127.0.0.1:9'], 'no cluster answers there'),
    (['--runtime=ray', '--ray_address=here'], 'no cluster answers there'),
  ],
)
def test_flags_that_do_not_fit(tmp_path, capsys, flags, complaint):
  assert runs.start(tmp_path / 'run', *flags) == 2
  said = capsys.readouterr().err.strip().splitlines()
  assert len(said) == 1 and complaint in said[0]


def test_there_are_no_more_actors_than_memory_for_them(monkeypatch):
  node = lambda cores, actors, alive=True: {
    'Alive': alive,
    'Resources': {'CPU': cores, 'memory': (actors + 0.5) * ray_cluster.ACTOR_BYTES},
  }
  cluster = ray_cluster.Cluster.__new__(ray_cluster.Cluster)
  monkeypatch.setattr(ray, 'nodes', lambda: [node(8, 3), node(2, 9), node(4, 4, alive=False)])
  assert (cluster.actors(None), cluster.actors(4), cluster.actors(40)) == (5, 4, 5)
  monkeypatch.setattr(ray, 'nodes', lambda: [node(8, 0)])
  with pytest.raises(UsageError, match='free memory'):
    cluster.actors(None)


@pytest.fixture(scope='module', autouse=True)
def _as_actors_have_them():
  with graphs.rewritten():
    yield


@pytest.fixture(scope='module')
def cluster():
  """A head with three cores: two for the actors that tests share, and one for others."""
  from ray import cluster_utils

  node = {'include_dashboard': False, 'object_store_memory': 150 << 20}
  made = cluster_utils.Cluster(initialize_head=True, head_node_args={'num_cpus': 3, **node})
  yield made
  runtime.shutdown()
  made.shutdown()


@pytest.fixture(scope='module')
def two(cluster):
  """The runtime with two actors of that cluster."""
  with runtime.use_context('ray', 4, 'off', 2, ray_address=cluster.address) as context:
    return context


def on(context, computation, *arguments):
  import tensorflow_federated as tff

  with tff.framework.get_context_stack().install(context):
    return computation(*arguments)


def fused(computation, *arguments):
  with runtime.use_context('fused', 4):
    return computation(*arguments)


def test_a_round_has_the_bits_of_the_fused_runtime(two):
  data = described_clients.described_clients(SIZES)
  for clients in (data, rounds.clients(SIZES)):
    found = on(two, rounds.next_round, rounds.first_weights(), clients)
    assert repr(found) == repr(fused(rounds.next_round, rounds.first_weights(), clients))
  assert two.report()['actors'] == 2


def test_steps_and_what_stays_at_the_clients(two):
  states = [np.float32(0.25 * k) for k in range(len(SIZES))]
  data = described_clients.described_clients(SIZES)
  found = on(two, test_slices.two_steps, data, states)
  assert repr(found) == repr(fused(test_slices.two_steps, data, states))


def test_a_failing_client_is_named(two):
  data = described_clients.described_clients(SIZES)
  with pytest.raises(runtime.ComputationError, match='client 5 of the cohort: assertion failed'):
    on(two, test_slices.total, data)


@dataclasses.dataclass(frozen=True)
class Eventful(described_clients.Seeded):
  """Clients that something happens to when an actor makes them, the first time or always.

  Attributes:
    event: what.
    folder: where what has happened is marked.
    driver: the process in which nothing happens.
  """

  event: str = ''
  folder: str = ''
  driver: int = dataclasses.field(default_factory=os.getpid)

  def make(self):
    if self.event and os.getpid() != self.driver:
      self._happen()
    return super().make()

  def _happen(self):
    if self.event == 'refuse':
      raise UsageError('there is no such file on this node')
    if self.event == 'slow':
      mark = pathlib.Path(self.folder, ray.get_runtime_context().get_node_id())
      mark.touch()
      time.sleep(0.7)
      return
    try:
      pathlib.Path(self.folder, 'mark').touch(exist_ok=False)
    except FileExistsError:
      return
    if self.event == 'die':
      os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(900)


def eventful(event, folder):
  return Eventful(1.0, np.arange(len(SIZES)), np.array(SIZES), event=event, folder=str(folder))


def expected_rounds(count):
  state = rounds.first_weights()
  for _ in range(count):
    state, _ = fused(rounds.next_round, state, described_clients.described_clients(SIZES))
  return repr(state)


def test_an_actors_failure_is_one_line_in_its_own_words(two, tmp_path):
  with pytest.raises(errors.WorkersError) as error:
    on(two, rounds.next_round, rounds.first_weights(), eventful('refuse', tmp_path))
  assert 'UsageError: there is no such file on this node' in str(error.value)
  assert '\n' not in str(error.value)


def _given_anew(report):
  # On a busy machine a chunk may have been given to another actor before its own one died.
  return report['chunks_sent_again'] + report['chunks_doubled']


def test_a_chunk_whose_actor_dies_is_sent_again(two, tmp_path, caplog):
  before = two.report()
  state = rounds.first_weights()
  for _ in range(3):
    state, _ = on(two, rounds.next_round, state, eventful('die', tmp_path))
  assert repr(state) == expected_rounds(3)
  after = two.report()
  assert _given_anew(after) - _given_anew(before) >= 1
  assert after['chunks_computed'] == before['chunks_computed'] + 3 * 4
  # Where its chunk had been given to another actor, word of its death may come after the rounds.
  lost = before['actors_lost'] + 1
  _until(lambda: on(two, rounds.next_round, *_nothing()) and two.report()['actors_lost'] == lost)
  [said] = [r.getMessage() for r in caplog.records if 'was lost' in r.getMessage()]
  assert '\n' not in said


def test_a_chunk_that_hangs_is_given_to_another_actor(two, tmp_path):
  _until(lambda: on(two, rounds.next_round, *_nothing()) and _there(two, 2))
  before = two.report()['chunks_doubled']
  begin = time.monotonic()
  state, _ = on(two, rounds.next_round, rounds.first_weights(), eventful('hang', tmp_path))
  assert repr(state) == expected_rounds(1)
  assert time.monotonic() - begin < 450
  assert two.report()['chunks_doubled'] == before + 1


def _nothing():
  return rounds.first_weights(), described_clients.described_clients((3, 4))


def _until(condition, seconds=600):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.1)


def test_a_node_that_is_lost_in_the_middle_of_a_round(cluster, tmp_path):
  node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
  # One core is free at the head, one here: the third actor waits for ever, and nobody for it.
  with runtime.use_context('ray', 4, 'off', 3, ray_address=cluster.address) as context:
    _until(lambda: on(context, rounds.next_round, *_nothing()) and _there(context, 2))

    def lose():
      _until((tmp_path / node.node_id).exists)
      cluster.remove_node(node)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      lost = pool.submit(lose)
      state, _ = on(context, rounds.next_round, rounds.first_weights(), eventful('slow', tmp_path))
      lost.result()
    state, _ = on(context, rounds.next_round, state, eventful('', tmp_path))
  assert repr(state) == expected_rounds(2)
  assert _given_anew(context.report()) >= 1


def _there(context, number):
  return context.workers.size[0] == number


@pytest.mark.parametrize('name', METHODS)
def test_runs_have_the_bytes_of_the_fused_runtime(cluster, two, tmp_path, name):
  common = ('--model=softmax', '--total_rounds=3', '--client_chunks=2', *METHODS[name])
  place = ('--runtime=ray', f'--ray_address={cluster.address}', '--client_parallelism=2')
  assert runs.start(tmp_path / 'fused', *common, '--runtime=fused') == 0
  assert runs.start(tmp_path / 'ray', *common, *place) == 0
  assert soak_kills.differences(tmp_path / 'fused', tmp_path / 'ray') == []


def test_nothing_is_left_of_a_driver_that_is_killed():
  program = (
    'from fl_research import runtime; runtime.set_context("ray");'
    'from fl_research.runtime import ray_context;'
    'print(ray_context._cluster._folder, flush=True); import time; time.sleep(60)'
  )
  driver = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True)
  folder = driver.stdout.readline().strip()
  assert processes_of(folder)
  driver.kill()
  driver.wait()
  _until(lambda: not processes_of(folder) and not os.path.exists(folder))


def processes_of(folder):
  """The processes that name a folder in their command."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    with contextlib.suppress(OSError):
      if folder.encode() in path.read_bytes():
        found.append(path.parent.name)
  return found
