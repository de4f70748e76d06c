"""What a site knows of one run, and what it computes for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research import client_data
from fl_research.federation import client_graph, proposal, site_clients, site_noise
from fl_research.federation.client_graph import DATA, HELD, MEASURES, STATE, SUMS
from fl_research.federation.kept_states import KeptStates
from fl_research.federation.messages import Message
from fl_research.federation.site_session import SiteSession
from fl_research.runtime import chunk_runs, errors, flat_function, layouts


class Run:
  """What a site knows of one run.

  Args:
    facts: batches and chance: `batch_size`, `seed` and `max_examples` of `client_data.cohort`.
    source: the site's clients.
    states: what they keep; None where it is nothing.
    reports: what kinds of numbers about the clients go with what they send.
    noise: what the site adds to what they send; None where it adds nothing.

  Attributes:
    held: of rounds, the clients and what they would send, where it waits to be added up.
    sessions: of rounds, the session in which it is.
    graphs: what was sent to be run, by hash.
  """

  def __init__(
    self,
    facts: Mapping[str, Any],
    source: site_clients.Source,
    states: Optional[KeptStates],
    reports: Sequence[str],
    noise: Optional[site_noise.SiteNoise] = None,
  ):
    self.facts = {name: facts[name] for name in ('batch_size', 'seed', 'max_examples')}
    self.source = source
    self.reports = tuple(reports)
    self.held: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}
    self.sessions: dict[int, SiteSession] = {}
    self.states, self.noise = states, noise
    self.graphs: dict[str, tuple[client_graph.ClientGraph, flat_function.ImportedFunction]] = {}

  def work(self, message: Message) -> list[np.ndarray]:
    """What a graph makes of a round's clients, of whom only numbers that may leave are true."""
    graph, function = self.graphs[message['graph']]
    positions = message.array('clients')
    tensors = client_graph.server_tensors(graph.inputs, message.arrays['server'])
    cohort = client_data.cohort(
      self.source,
      positions,
      message.array('epochs'),
      round_num=message['round'],
      **self.facts,
    )
    for number, each in enumerate(graph.inputs):
      if each.origin == DATA:
        leaves = chunk_runs.described_leaves(cohort, each.names, each.specs, positions.tolist())
        tensors[number] = layouts.arranged(each.specs, leaves)
      elif each.origin == STATE:
        assert self.states is not None
        columns = zip(*self.states.get(positions.tolist()))
        leaves = [layouts.raw_leaf(column) for column in columns]
        tensors[number] = layouts.arranged(each.specs, leaves)
    results = _call(function, len(positions), tensors)
    if proposal.TRAINING_METRICS not in self.reports:
      for part, instead in ((SUMS, 0.0), (MEASURES, np.nan)):
        for place in graph.named(part):
          results[place] = np.full_like(results[place], instead)
    if self.noise is not None:
      sent = [results[place] for place in graph.sent]
      noised = self.noise.apply(graph.names, sent, message['round'], positions.tolist())
      for place, array in zip(graph.sent, noised):
        results[place] = array
    return results

  def terms(self, message: Message) -> list[np.ndarray]:
    """What a graph makes of what a round's clients would send."""
    clients, sent = self.held[message['round']]
    graph, function = self.graphs[message['graph']]
    tensors = client_graph.server_tensors(graph.inputs, message.arrays['server'])
    factors = [np.ones(len(clients), np.float32)]
    for number, each in enumerate(graph.inputs):
      if each.origin in HELD:
        own = sent if each.origin == HELD[0] else factors
        tensors[number] = [tf.constant(array) for array in own]
    return _call(function, len(clients), tensors)

  def close(self) -> None:
    """Ends the use of its files."""
    if self.states is not None:
      self.states.close()


def _call(
  function: Callable[..., Any], count: int, tensors: Mapping[int, Sequence[tf.Tensor]]
) -> list[np.ndarray]:
  """The results for so many clients, of inputs by number."""
  flat = [tensor for number in sorted(tensors) for tensor in tensors[number]]
  try:
    results = function(tf.constant(0), tf.constant(count), *flat)
  except tf.errors.OpError as error:
    raise errors.ComputationError(errors.message_of(error)) from error
  return [np.asarray(tensor) for tensor in results]
