"""A site: it has data, answers an engine, and does nothing that its owner has not allowed.

It runs the clients' half of a round on its own clients and keeps what they keep. It knows no method
by name: what it runs is a graph that its guard has checked. Of the data nothing is sent but what
the graph makes of it, sums of metrics, and how many there are; and nothing before it is in the log.
"""

from collections.abc import Callable, Mapping
import logging
import pathlib
from typing import Optional

import numpy as np

from fl_research import runtime
from fl_research.federation import (
  client_graph,
  messages,
  proposal,
  site_clients,
  site_evaluation,
  site_session,
  site_survey,
)
from fl_research.federation.guard import Guard
from fl_research.federation.kept_states import KeptStates
from fl_research.federation.messages import Message, MessageError
from fl_research.federation.site_data import SiteData
from fl_research.federation.site_run import Run
from fl_research.federation.site_session import SiteSession
from fl_research.registry import UsageError
from fl_research.runtime import errors, flat_function


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
    self._runs: dict[str, Run] = {}
    # Of (run, round, the hash of what this site adds to the sum), for all of a run's sessions.
    self._told_of: dict[tuple[str, int, str], frozenset] = {}
    survey = site_survey.SiteSurvey(name, data, guard, self._signer)
    self._answers: Mapping[str, Callable[[Message], Message]] = {
      'hello': self._hello,
      'statistics': survey.statistics,
      'describe': survey.describe,
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
      run.close()
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
    source = site_clients.Source(self._data.train, positions)
    self._runs[run] = Run(facts, source, states, reports, self._guard.noise(run))
    return Message('done', {'known_by': ''})

  def _states(self, run: str, message: Message) -> Optional[KeptStates]:
    """The states of a run that begins, or goes on from a checkpoint."""
    before = self._runs.pop(run, None)
    if before is not None:
      before.close()
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

  def _run_of(self, message: Message) -> Optional[Run]:
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
    graph, _ = run.graphs[message['graph']]
    results = run.work(message)
    if run.states is not None:
      kept = [result for place, result in enumerate(results) if place not in graph.sent]
      run.states.hold(round_num, clients.tolist(), kept)
    sent = [results[place] for place in graph.sent]
    answer = Message('sent', {'round': round_num}, {'clients': [clients], 'sent': sent})
    if run.noise is not None:
      self._guard.noised(message['run'], round_num, messages.pack(answer))
    if message['hold']:
      run.held = {round_num: (clients, sent)}
      return Message('held', {'round': round_num}, {'clients': [clients]})
    return answer

  def _admit(self, run: Run, message: Message, clients: int, rows: int) -> None:
    """Asks the guard for a round's work."""
    masked = message.kind == 'combine' or message['hold']
    for kind in (proposal.MASKED_UPDATES if masked else proposal.UPDATES, *run.reports):
      self._guard.admit(message['run'], kind, message['round'], clients, rows)

  def _combine(self, message: Message) -> Message:
    run, round_num = self._run_of(message), message['round']
    if run is None or round_num not in run.held or message['graph'] not in run.graphs:
      return Message('needs', {'what': 'round'})
    clients, _ = run.held[round_num]
    rows = int(run.source.clients.sizes[clients].sum())
    self._admit(run, message, len(clients), rows)
    graph, _ = run.graphs[message['graph']]
    results = run.terms(message)
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
    arrays = site_evaluation.evaluated(self._data, run, message['graph'], message.arrays['server'])
    return Message('evaluated', {'round': message['round']}, arrays)

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
    if run is not None:
      run.close()
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


def _needs_run() -> Message:
  return Message('needs', {'what': 'run'})
