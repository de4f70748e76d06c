"""A site: it has data, answers an engine, and does nothing that its owner has not allowed.

It runs the clients' half of a round on its own clients and keeps what they keep. It knows no method
by name: what it runs is a graph that its guard has checked. Of the data nothing is sent but what
the graph makes of it, sums of metrics, and how many there are; and nothing before it is in the log.
"""

from collections.abc import Callable, Mapping, Sequence
import logging
import pathlib
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research import client_data, metrics, runtime
from fl_research.datasets.federated_data import Clients, Examples
from fl_research.federation import (
  client_graph,
  fixed_point,
  messages,
  proposal,
  shared_columns,
  site_session,
)
from fl_research.federation.client_graph import DATA, HELD, STATE
from fl_research.federation.guard import Guard
from fl_research.federation.kept_states import KeptStates
from fl_research.federation.messages import Message, MessageError
from fl_research.federation.refusal import Refused
from fl_research.federation.site_data import SiteData
from fl_research.federation.site_session import SiteSession
from fl_research.registry import UsageError
from fl_research.runtime import chunk_runs, errors, flat_function, layouts

_EXAMPLES_PER_STEP = 256


class _Placed(Clients):
  """A site's clients, at their positions in the population of all sites."""

  def __init__(self, clients: Clients, positions: np.ndarray):
    self._clients = clients
    self._own = {int(position): own for own, position in enumerate(positions)}
    self._sizes = np.zeros(int(positions.max(initial=-1)) + 1, np.int64)
    self._sizes[positions] = clients.sizes

  @property
  def ids(self) -> Sequence[str]:
    raise NotImplementedError

  def __len__(self) -> int:
    return len(self._sizes)

  @property
  def sizes(self) -> np.ndarray:
    return self._sizes

  def examples(self, position: int) -> Examples:
    return self._clients.examples(self._own[int(position)])


class _Source(client_data.Source):
  """A site's clients as cohorts are drawn from them.

  Args:
    clients: the site's clients.
    positions: theirs in the population of all sites.
  """

  def __init__(self, clients: Clients, positions: np.ndarray):
    super().__init__(_Placed(clients, positions))
    self.bytes_of_example = client_data.Source(clients).bytes_of_example
    self._positions = positions

  def position(self, own: int) -> int:
    """The position in the population of the site's client of this number."""
    return int(self._positions[own])

  def outside_rounds(self, position: int, **facts: Any) -> client_data.ClientData:
    """A client's D for what it does outside all rounds, one epoch of its examples."""
    examples = self.clients.examples(position)
    return client_data.client_data(examples, epochs=1.0, client=position, round_num=0, **facts)

  def has(self, positions: np.ndarray) -> bool:
    """Whether all of these are this site's."""
    return positions.dtype == np.int64 and bool(np.isin(positions, self._positions).all())


class _Run:
  """What a site knows of one run.

  Args:
    facts: batches and chance: `batch_size`, `seed` and `max_examples` of `client_data.cohort`.
    source: the site's clients.
    states: what they keep; None where it is nothing.
    reports: what kinds of numbers about the clients go with what they send.
  """

  def __init__(
    self,
    facts: Mapping[str, Any],
    source: _Source,
    states: Optional[KeptStates],
    reports: Sequence[str],
  ):
    self.facts = {name: facts[name] for name in ('batch_size', 'seed', 'max_examples')}
    self.source = source
    self.reports = tuple(reports)
    self.held: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}
    self.sessions: dict[int, SiteSession] = {}
    self.states = states
    self.graphs: dict[str, tuple[client_graph.ClientGraph, flat_function.ImportedFunction]] = {}


class Site:
  """Answers messages; see the module's docstring.

  Args:
    name: of the site.
    data: what it has.
    guard: who decides, and what it signs with.
    folder: what must outlast the process.
    limit: the largest message, in bytes.
  """

  def __init__(
    self,
    name: str,
    data: SiteData,
    guard: Guard,
    folder: pathlib.Path,
    limit: int = messages.LIMIT,
  ):
    self._name, self._data, self._guard, self._folder = name, data, guard, folder
    self._limit = limit
    self._signer = guard.signer(name)
    self._runs: dict[str, _Run] = {}
    # Of (run, round, the hash of what this site adds to the sum), for all of a run's sessions.
    self._told_of: dict[tuple[str, int, str], frozenset] = {}
    self._survey: Optional[SiteSession] = None
    self._answers: Mapping[str, Callable[[Message], Message]] = {
      'hello': self._hello,
      'statistics': self._statistics,
      'describe': self._describe,
      'propose': self._propose,
      'begin': self._begin,
      'graph': self._graph,
      'work': self._work,
      'combine': self._combine,
      'session': self._session,
      'evaluate': self._evaluate,
      'commit': self._commit,
      'advance': self._advance,
      'withdraw': self._withdraw,
    }

  def handle(self, request: bytes) -> bytes:
    """The answer to a message; whatever is wrong with it is an answer too."""
    try:
      message = messages.unpack(request, self._limit)
      answer = self._answers.get(message.kind)
      if answer is None:
        raise MessageError(f'{message.kind}: not a message to a site')
      self._note(message, request)
      reply = answer(message)
      packed = messages.pack(reply)
      self._let_out(message, reply, packed)
      return packed
    except (MessageError, UsageError) as error:
      return messages.pack(messages.refused(str(error)))
    except errors.ComputationError:  # What an operation says of its failure may hold rows.
      logging.exception('The work failed.')
      return messages.pack(messages.refused("the work failed; the site's owner sees why"))
    except Exception:  # The site lives on; its owner sees why, the engine that it was so.
      logging.exception('A message could not be answered.')
      return messages.pack(messages.refused("the site failed; its owner's log says why"))

  def _note(self, message: Message, request: bytes) -> None:
    """Writes down what has come."""
    if message.kind in _OF_ROUNDS:
      self._guard.received(message['run'], message.kind, message['round'], request)

  def _let_out(self, message: Message, reply: Message, packed: bytes) -> None:
    """Writes down what is about to leave; without that line it does not."""
    if message.kind in _OF_SURVEYS:
      self._guard.surveyed(_OF_SURVEYS[message.kind], packed)
    if reply.kind in _OF_ROUNDS.values():
      run = message['run']
      reports = self._runs[run].reports if reply.kind in _WITH_REPORTS else ()
      kinds = (*_KINDS[reply.kind], *reports)
      self._guard.leaves(run, kinds[0], message['round'], packed, kinds[1:])

  def close(self) -> None:
    """Ends the use of all files; what was not committed is gone, but for what is held."""
    for run in self._runs.values():
      if run.states is not None:
        run.states.close()
    self._runs.clear()
    self._guard.close()

  def _hello(self, message: Message) -> Message:
    if message['protocol'] != messages.PROTOCOL:
      raise MessageError(
        f'protocol {message["protocol"]}: this site has {messages.PROTOCOL}; the same version of '
        'fl_research is needed on both'
      )
    fields = {'protocol': messages.PROTOCOL, 'name': self._name}
    fields['statistics'] = list(self._data.statistics)
    fields['signs'] = self._signer is not None
    fields['sums_by_protocol'] = self._guard.sums_by_protocol
    return Message('site', fields)

  def _statistics(self, message: Message) -> Message:
    self._guard.survey(proposal.COLUMN_STATISTICS)
    what, facts = message['what'], dict(message['facts'])
    if what == shared_columns.SESSION:
      return self._survey_step(facts, message.array('numbers'))
    session = facts.pop(shared_columns.SESSION, None)
    answer, numbers = self._data.answer(what, facts, message.arrays['numbers'])
    if what in shared_columns.SUMS and session is not None:
      [own] = numbers
      return self._survey_session(shared_columns.SUMS.index(what), session, own)
    if what in shared_columns.SUMS and self._guard.sums_by_protocol:
      raise Refused('sums of columns are given by secure aggregation only')
    return Message('numbers', {'facts': answer}, {'numbers': numbers})

  def _survey_session(self, number: int, facts: Any, own: np.ndarray) -> Message:
    """Begins a session in which sums of columns are added up, of which nothing else is told."""
    if not isinstance(facts, dict) or facts.get('bits') != fixed_point.BITS:
      raise MessageError('statistics: facts of no session')
    if not own.size:
      return Message('numbers', {'facts': {'size': 0}}, {'numbers': []})
    words, least_others = fixed_point.to_words(own), self._guard.least_others_of_surveys
    told_of = self._told_of.get(('', number, site_session.hash_of(words)))
    name = str(facts.get('name'))
    self._survey = SiteSession(name, number, facts, words, least_others, self._signer, told_of)
    return Message('numbers', {'facts': {'size': len(words)}}, {'numbers': []})

  def _survey_step(self, facts: Mapping[str, Any], payload: np.ndarray) -> Message:
    if self._survey is None:
      return Message('needs', {'what': 'round'})
    try:
      step = int(facts['step'])
    except (KeyError, TypeError, ValueError) as error:
      raise MessageError('statistics: a session without its step') from error
    session = self._survey
    answer = session.step(step, payload.tobytes())
    if session.told_of is not None:
      self._told_of['', session.round_num, session.content] = session.told_of
    return Message('numbers', {'facts': {}}, {'numbers': [np.frombuffer(answer, np.uint8)]})

  def _describe(self, message: Message) -> Message:
    self._guard.survey(proposal.COUNTS)
    self._data.load(message['shared'])
    train, tests = self._data.train, self._data.tests
    fields = {
      'spec': self._data.spec.to_data(),
      'facts': self._data.facts(),
      'ids': [self._id(own) for own in train.ids],
    }
    arrays = {
      'sizes': [np.asarray(train.sizes, np.int64)],
      'test_sizes': [np.asarray(tests.sizes, np.int64)],
    }
    return Message('data', fields, arrays)

  def _id(self, own: str) -> str:
    """A client's name among those of all sites."""
    return own if own == self._name else f'{self._name}/{own}'

  def _propose(self, message: Message) -> Message:
    try:
      signature = bytes.fromhex(message['signature'])
    except ValueError as error:
      raise MessageError('propose: the signature is not hexadecimal') from error
    answer = self._guard.propose(proposal.from_json(message['proposal']), signature)
    fields = {'status': answer.status, 'reasons': list(answer.reasons)}
    return Message('answer', {**fields, 'withheld': list(answer.withheld)})

  def _begin(self, message: Message) -> Message:
    run, facts = message['run'], message['run_facts']
    self._guard.admit(run, proposal.COUNTS, 0)
    self._guard.check_columns(run, self._data.columns)
    positions = message.array('clients')
    if positions.dtype != np.int64 or positions.shape != (len(self._data.train),):
      raise MessageError('begin: not the clients of this site')
    runtime.set_kernel_threads(int(facts['kernel_threads']))
    states = self._states(run, message)
    reports = self._guard.reports(run)
    self._runs[run] = _Run(facts, _Source(self._data.train, positions), states, reports)
    return Message('done', {'known_by': ''})

  def _states(self, run: str, message: Message) -> Optional[KeptStates]:
    """The states of a run that begins, or goes on from a checkpoint."""
    before = self._runs.pop(run, None)
    if before is not None and before.states is not None:
      before.states.close()
    initial = message.arrays['initial_state']
    if not initial:
      return None
    if not run.isalnum():
      raise MessageError('begin: a run is named by letters and digits')
    states = KeptStates(initial, self._folder / 'runs' / run)
    resumed = message['resumed']
    if not resumed:
      states.clear()
    elif not states.restore(int(resumed['round']), str(resumed['known_by'])):
      states.close()
      raise UsageError(
        f'{self._folder / "runs" / run}: has no states of the checkpoint of round '
        f'{resumed["round"]}; restore the folder from a copy, or begin the experiment again'
      )
    return states

  def _run_of(self, message: Message) -> Optional[_Run]:
    return self._runs.get(message['run'])

  def _graph(self, message: Message) -> Message:
    run = self._run_of(message)
    if run is None:
      return _needs_run()
    graph = client_graph.ClientGraph.from_message(message)
    self._guard.check_graph(message['run'], graph.function.library)
    self._guard.check_use(message['run'], graph.hash)
    run.graphs[graph.hash] = graph, flat_function.ImportedFunction(graph.function)
    return Message('done', {'known_by': ''})

  def _work(self, message: Message) -> Message:
    run, round_num = self._run_of(message), message['round']
    if run is None:
      return _needs_run()
    if message['graph'] not in run.graphs:
      return Message('needs', {'what': 'graph'})
    clients = message.array('clients')
    if not run.source.has(clients):
      raise MessageError('work: asks for clients of another site')
    rows = int(run.source.clients.sizes[clients].sum())
    self._admit(run, message, len(clients), rows)
    if run.states is not None:
      run.states.apply(message['applied'])
    graph, function = run.graphs[message['graph']]
    positions = message.array('clients')
    tensors = client_graph.server_tensors(graph.inputs, message.arrays['server'])
    cohort = client_data.cohort(
      run.source, positions, message.array('epochs'), round_num=round_num, **run.facts
    )
    for number, each in enumerate(graph.inputs):
      if each.origin == DATA:
        leaves = chunk_runs.described_leaves(cohort, each.names, each.specs, positions.tolist())
        tensors[number] = layouts.arranged(each.specs, leaves)
      elif each.origin == STATE:
        assert run.states is not None
        columns = zip(*run.states.get(positions.tolist()))
        leaves = [layouts.raw_leaf(column) for column in columns]
        tensors[number] = layouts.arranged(each.specs, leaves)
    flat = [tensor for number in sorted(tensors) for tensor in tensors[number]]
    results = [np.asarray(tensor) for tensor in _call(function, len(positions), flat)]
    if proposal.TRAINING_METRICS not in run.reports:
      for places, instead in ((graph.sums, 0.0), (graph.measures, np.nan)):
        for place in places:
          results[place] = np.full_like(results[place], instead)
    if run.states is not None:
      kept = [result for place, result in enumerate(results) if place not in graph.sent]
      run.states.hold(round_num, positions.tolist(), kept)
    sent = [results[place] for place in graph.sent]
    if message['hold']:
      run.held = {round_num: (positions, sent)}
      return Message('held', {'round': round_num}, {'clients': [positions]})
    return Message('sent', {'round': round_num}, {'clients': [positions], 'sent': sent})

  def _admit(self, run: _Run, message: Message, clients: int, rows: int) -> None:
    """Asks the guard for a round's work."""
    masked = message.kind == 'combine' or message['hold']
    for kind in (proposal.MASKED_UPDATES if masked else proposal.UPDATES, *run.reports):
      self._guard.admit(message['run'], kind, message['round'], clients, rows)

  def _combine(self, message: Message) -> Message:
    run, round_num = self._run_of(message), message['round']
    if run is None or round_num not in run.held or message['graph'] not in run.graphs:
      return Message('needs', {'what': 'round'})
    clients, sent = run.held[round_num]
    rows = int(run.source.clients.sizes[clients].sum())
    self._admit(run, message, len(clients), rows)
    graph, function = run.graphs[message['graph']]
    tensors = client_graph.server_tensors(graph.inputs, message.arrays['server'])
    factors = [np.ones(len(clients), np.float32)]
    for number, each in enumerate(graph.inputs):
      if each.origin in HELD:
        own = sent if each.origin == HELD[0] else factors
        tensors[number] = [tf.constant(array) for array in own]
    flat = [tensor for number in sorted(tensors) for tensor in tensors[number]]
    results = [np.asarray(tensor) for tensor in _call(function, len(clients), flat)]
    terms = [result for place, result in enumerate(results) if place not in graph.sent]
    facts, least_others = message['session'], self._guard.least_others(message['run'])
    vector = site_session.summed(terms, graph.largest, int(facts.get('bits', 0)))
    told_of = self._told_of.get((message['run'], round_num, site_session.hash_of(vector)))
    session = SiteSession(
      message['run'], round_num, facts, vector, least_others, self._signer, told_of
    )
    run.sessions = {round_num: session}
    return Message('combined', {'round': round_num}, {'sent': [results[p] for p in graph.sent]})

  def _session(self, message: Message) -> Message:
    run, round_num = self._run_of(message), message['round']
    if run is None or round_num not in run.sessions:
      return Message('needs', {'what': 'round'})
    session = run.sessions[round_num]
    answer = session.step(message['step'], message.array('payload').tobytes())
    if session.told_of is not None:
      self._told_of[message['run'], round_num, session.content] = session.told_of
    payload = [np.frombuffer(answer, np.uint8)]
    return Message('stepped', {'round': round_num}, {'payload': payload})

  def _evaluate(self, message: Message) -> Message:
    run = self._run_of(message)
    if run is None:
      return _needs_run()
    if message['graph'] not in run.graphs:
      return Message('needs', {'what': 'graph'})
    tests = self._data.tests
    rows = int(tests.sizes.sum())
    self._guard.admit(message['run'], proposal.EVALUATION_SUMS, message['round'], len(tests), rows)
    if run.states is not None:
      run.states.apply(message['applied'])
    graph, function = run.graphs[message['graph']]
    given = client_graph.server_tensors(graph.inputs, message.arrays['server'])
    weights = [tensor for number in sorted(given) for tensor in given[number]]
    spec = self._data.spec
    pooled, sizes = tests.pooled(), np.asarray(tests.sizes, np.int64)
    if graph.tests_clients:
      columns, sizes = self._own_columns(run, graph, function, weights)
      trains = np.repeat(sizes > 0, tests.sizes)
      pooled = {name: values[trains] for name, values in pooled.items()}
    else:
      columns = _columns(function, weights, graph, pooled)
    table = metrics.per_client(spec.problem, columns, pooled['y'], sizes)
    client = np.repeat(np.arange(len(sizes)), sizes)
    names = metrics.sum_names(spec.problem, spec.num_classes)
    sums = [np.bincount(client, columns[name], len(sizes)) for name in names]
    values = [table[name] for name in metrics.names(spec.problem, spec.num_classes)]
    arrays = {
      'sizes': [sizes],
      'sums': [np.stack(sums, axis=1)],
      'metrics': [np.stack(values, axis=1)],
      'further': [metrics.further_sums(spec.problem, columns, pooled['y'])],
    }
    return Message('evaluated', {'round': message['round']}, arrays)

  def _own_columns(
    self,
    run: _Run,
    graph: client_graph.ClientGraph,
    function: Callable[..., Any],
    server: Sequence[tf.Tensor],
  ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Numbers per example of what tested clients would use, and of how many of each.

    Of those that do not train, and so have no model of their own, there are none.
    """
    tests, parts, sizes = self._data.tests, [], np.zeros(len(self._data.tests), np.int64)
    place_of = {own: place for place, own in enumerate(self._data.train.ids)}
    names = [each.names for each in graph.inputs if each.origin == DATA]
    for number, own in enumerate(tests.ids):
      if own not in place_of:
        continue
      position = run.source.position(place_of[own])
      state = run.states.get([position])[0] if run.states is not None else []
      data = run.source.outside_rounds(position, **run.facts)
      known = [*server, *state, *(_at(data, path) for path in names[0])]
      examples = tests.examples(number)
      parts.append(_columns(function, known, graph, examples))
      sizes[number] = len(examples['y'])
    joined = lambda name: np.concatenate([np.zeros(0), *(part[name] for part in parts)])
    return {name: joined(name) for name in graph.columns}, sizes

  def _commit(self, message: Message) -> Message:
    run = self._run_of(message)
    if run is None:
      return _needs_run()
    if run.states is None:
      return Message('done', {'known_by': ''})
    run.states.apply(message['applied'])
    return Message('done', {'known_by': run.states.commit(message['round'])})

  def _advance(self, message: Message) -> Message:
    run = self._run_of(message)
    if run is None:
      return _needs_run()
    if run.states is not None:
      run.states.advance(message['round'], message['oldest'])
    return Message('done', {'known_by': ''})

  def _withdraw(self, message: Message) -> Message:
    self._guard.withdraw(message['run'], message['is_over'])
    run = self._runs.pop(message['run'], None)
    if run is not None and run.states is not None:
      run.states.close()
    return Message('done', {'known_by': ''})


_OF_ROUNDS = {'work': 'sent', 'combine': 'combined', 'session': 'stepped', 'evaluate': 'evaluated'}
"""What is asked for in a round, and the answer with which something leaves."""

_KINDS = {
  'sent': (proposal.UPDATES,),
  'combined': (),
  'stepped': (proposal.MASKED_UPDATES,),
  'evaluated': (proposal.EVALUATION_SUMS,),
}
_WITH_REPORTS = ('sent', 'combined')
_OF_SURVEYS = {'statistics': proposal.COLUMN_STATISTICS, 'describe': proposal.COUNTS}
"""What leaves with answers, in a round and before any run; clients' reports go with some."""


def _at(value: Any, path: str) -> np.ndarray:
  """What is at a path, `/examples/x`, of nested mappings."""
  for name in path.split('/')[1:]:
    value = value[name]
  return np.asarray(value)


def _needs_run() -> Message:
  return Message('needs', {'what': 'run'})


def _call(function: Callable[..., Any], count: int, tensors: Sequence[tf.Tensor]) -> Sequence:
  try:
    return function(tf.constant(0), tf.constant(count), *tensors)
  except tf.errors.OpError as error:
    raise errors.ComputationError(errors.message_of(error)) from error


def _columns(
  function: Callable[..., Any],
  given: Sequence[Any],
  graph: client_graph.ClientGraph,
  examples: Examples,
) -> dict[str, np.ndarray]:
  """Numbers per example, float64 [n] by name."""
  known = [tf.constant(each) for each in given]
  parts = [np.zeros([0, len(graph.columns)], np.float32)]
  for first in range(0, len(examples['y']), _EXAMPLES_PER_STEP):
    rows = slice(first, first + _EXAMPLES_PER_STEP)
    own = [tf.constant(examples['x'][rows]), tf.constant(examples['y'][rows])]
    parts.append(np.asarray(function(*known, *own)[0]))
  values = np.concatenate(parts).astype(np.float64)
  return {name: values[:, number] for number, name in enumerate(graph.columns)}
