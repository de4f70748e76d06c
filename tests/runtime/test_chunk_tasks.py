"""Chunks as tasks for other processes: the same bits after a journey through pickles."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime  # before TensorFlow
from fl_research.runtime import chunk_tasks, chunks, flat_function, task_making
from tests.runtime import described_clients, rounds, test_slices

SIZES = (7, 0, 12, 3, 8, 30, 5)


class Pickled:
  """Computes chunks as another process would: from pickles only."""

  def __init__(self):
    self.sent = []

  def results(self, work, call):
    exported = pickle.loads(pickle.dumps(work.exported))
    function = flat_function.ImportedFunction(exported)
    for chunk in call.chunks:
      sources = {}

      def name_of(source, sources=sources):
        sources['it'] = source
        return 'it'

      parts = (
        task_making.task_of(work, call, chunk, name_of),
        task_making.server_values(work, call),
        sources,
      )
      self.sent.append(pickle.dumps(parts))
      task, packed, sources = pickle.loads(self.sent[-1])
      server = {key: task.tensors(key, values) for key, values in packed.items()}
      reply = pickle.loads(pickle.dumps(chunk_tasks.run(task, function, server, sources)))
      yield task_making.results_of(reply, work)


def on_tasks(number, computation, *arguments):
  """The result by way of tasks, and the context."""
  with runtime.use_context('fused', number) as context:
    context.workers = Pickled()
    return computation(*arguments), context.workers


def fused(number, computation, *arguments):
  with runtime.use_context('fused', number):
    return computation(*arguments)


@pytest.mark.parametrize('described', [False, True])
def test_a_round(described, monkeypatch):
  monkeypatch.setattr(chunks, 'SLICE_BYTES', 1500)
  plain = rounds.clients(SIZES)
  data = described_clients.described_clients(SIZES) if described else plain
  found, _ = on_tasks(3, rounds.next_round, rounds.first_weights(), data)
  assert repr(found) == repr(fused(3, rounds.next_round, rounds.first_weights(), plain))


def test_described_clients_are_sent_as_their_description():
  data = described_clients.described_clients([4000] * 6)
  _, workers = on_tasks(3, rounds.next_round, rounds.first_weights(), data)
  assert max(map(len, workers.sent)) < 5_000 < rounds.client(0, 4000)['examples']['x'].nbytes


def test_two_steps_and_values_left_at_the_clients():
  states = [np.float32(0.25 * k) for k in range(len(SIZES))]
  data = described_clients.described_clients(SIZES)
  found, _ = on_tasks(2, test_slices.two_steps, data, states)
  expected = fused(2, test_slices.two_steps, chunks.stack_clients(rounds.clients(SIZES), 2), states)
  for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
    np.testing.assert_array_equal(one, other)


def test_data_sets_and_strings():
  sequence = tff.SequenceType(np.int32)

  @tff.tensorflow.computation(sequence, np.str_)
  def longest(data, name):
    total = data.reduce(np.int32(0), lambda total, x: total + x)
    return tf.cast(total, tf.float32) * tf.cast(tf.strings.length(name), tf.float32), name

  @tff.tensorflow.computation(sequence)
  def odd(data):
    return data.filter(lambda x: tf.equal(x % 2, 1))

  @tff.federated_computation(
    tff.FederatedType(sequence, tff.CLIENTS), tff.FederatedType(np.str_, tff.CLIENTS)
  )
  def measured(data, names):
    found = tff.federated_map(longest, (data, names))
    return tff.federated_sum(found[0]), found[1], tff.federated_map(odd, data)

  arguments = ([[1, 2, 3], [], [4, 5]], ['a\0', 'bc', 'déf'])
  expected = fused(2, measured, *arguments)
  found, _ = on_tasks(2, measured, *arguments)
  plain = lambda result: (
    result[0],
    result[1],
    [list(own.as_numpy_iterator()) for own in result[2]],
  )
  assert plain(found) == plain(expected)
  assert plain(found)[2] == [[1, 3], [], [5]]


def test_a_failing_client_is_named():
  with pytest.raises(runtime.ComputationError, match='client 5 of the cohort') as error:
    on_tasks(2, test_slices.total, described_clients.described_clients(SIZES))
  assert error.value.client == 5


def test_a_worker_needs_no_tff():
  program = (
    'import sys; from fl_research.runtime import chunk_tasks, flat_function, ray_actor; '
    'from fl_research.training import run_data; '
    'sys.exit("tensorflow_federated" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', program], check=False).returncode == 0
