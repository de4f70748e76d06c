"""One run on the data of sites: what it asks of them in a round, and what they keep for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import json
import time
from typing import Any, Optional

import numpy as np

from fl_research.federation import client_graph
from fl_research.federation import engine as engine_lib
from fl_research.federation.engine import Engine, SiteError
from fl_research.federation.messages import Message
from fl_research.federation.proposal import Proposal, TRAINING_METRICS


class RunAtSites:
  """One run on the sites' data; what it asks of them is repeated until they have it.

  Args:
    engine: the way to the sites.
    request: what is asked of them, whose id names the run; the same when it is resumed.
    signature: of the request, in hexadecimal; empty where nobody signs.
    facts: batches and chance, see `fl_research.federation.site`.
    initial_state: the state of a client that has never taken part; no arrays where clients keep
      nothing.
    graphs: what the sites are to run, by purpose.
    measured: the columns that are empty of clients whose training metrics are withheld.

  Attributes:
    name: the run's, at the sites.
    least_sites: how many must answer; 0 for all.
    signed: whether sites sign in sums by the protocol.
  """

  def __init__(
    self,
    engine: Engine,
    request: Proposal,
    signature: str,
    facts: Mapping[str, Any],
    initial_state: Sequence[np.ndarray],
    graphs: Mapping[str, client_graph.ClientGraph],
    measured: Sequence[str] = (),
  ):
    self._measured = measured
    self._engine, self.name, self._facts = engine, request.run_id, dict(facts)
    self.least_sites, self.signed = engine.min_sites, any(engine.signs.values())
    self._request, self._signature = request, signature
    self._initial_state, self._graphs = list(initial_state), graphs
    self._resumed: dict[str, dict[str, Any]] = {name: {} for name in engine.sites}
    self._applied: dict[str, dict[str, list[int]]] = {name: {} for name in engine.sites}

  def _propose(self) -> None:
    """Asks all sites to let the run be, and waits for those whose owners have to look at it.

    Raises:
      SiteError: one does not, or the wait is broken off; then the others are not asked any longer.
    """
    fields = {'proposal': self._request.to_json(), 'signature': self._signature}
    waiting = dict.fromkeys(self._engine.sites, Message('propose', fields))
    told: set[str] = set()
    withhold = set()
    while True:
      for name, answer in self._engine.ask(waiting, 'answer').items():
        reasons = '; '.join(map(str, answer['reasons']))
        self._engine.contacts[name].status = answer['status']
        if answer['status'] == 'denied':
          self.withdraw()
          raise SiteError(f'site {name} denies the run: {reasons}')
        if answer['status'] == 'approved':
          del waiting[name]
          withhold |= {name} if answer['withheld'] else set()
        elif name not in told:
          told.add(name)
          self._engine.say(f'site {name}: request {self.name[:12]} waits for its owner ({reasons})')
      if not waiting:
        break
      if self._engine.interrupted():
        self.withdraw()
        raise SiteError(
          f'stopped while the request waited for the owner of {", ".join(waiting)}; it is '
          'withdrawn, and the same command makes it again'
        )
      time.sleep(engine_lib.PATIENCE)
    self._say_what_is_withheld(sorted(withhold))

  def _say_what_is_withheld(self, sites: Sequence[str]) -> None:
    """Names the columns that lack clients whose training metrics stay where they are."""
    columns = ', '.join(self._measured)
    if self._request.release(TRAINING_METRICS) is None or len(sites) == len(self._engine.sites):
      self._engine.say(f'training metrics are withheld at all sites: no {columns}')
    elif sites:
      them = f'site {sites[0]}' if len(sites) == 1 else f'sites {", ".join(sites)}'
      self._engine.say(
        f'training metrics are withheld at {them}: {columns} are of the other clients only'
      )

  def begin(self, round_num: int = 0, known_by: Optional[Mapping[str, str]] = None) -> None:
    """Has all sites begin, or go back to the checkpoint of a round.

    Raises:
      SiteError: one refuses.
    """
    self._propose()
    for name in self._engine.sites:
      resumed = {} if known_by is None else {'round': round_num, 'known_by': known_by[name]}
      self._resumed[name], self._applied[name] = resumed, {}
    requests = {name: self._beginning(name) for name in self._engine.sites}
    self._engine.ask(requests, 'done')

  def _beginning(self, name: str) -> Message:
    fields = {'run': self.name, 'run_facts': self._facts, 'resumed': self._resumed[name]}
    positions = self._engine.sites[name].positions.astype(np.int64)
    return Message('begin', fields, {'clients': [positions], 'initial_state': self._initial_state})

  def _recover(self, name: str, what: str) -> None:
    """Gives a site what it has lost, or never had."""
    if what == 'run':
      self._engine.ask({name: self._beginning(name)}, 'done')
    for graph in self._graphs.values():
      self._engine.ask({name: graph.to_message(self.name)}, 'done')

  def work(
    self,
    round_num: int,
    server: Sequence[np.ndarray],
    clients: np.ndarray,
    epochs: np.ndarray,
    hold: bool = False,
  ) -> Iterator[tuple[str, np.ndarray, list[np.ndarray]]]:
    """What the clients of a round have sent: of each site that has answered, clients and arrays.

    Args:
      round_num: the round.
      server: what is broadcast.
      clients: the cohort.
      epochs: how many each of them trains.
      hold: whether the sites keep what their clients send, and send nothing.
    """
    requests = {}
    for name, site in self._engine.sites.items():
      own = np.isin(clients, site.positions)
      if own.any():
        requests[name] = Message(
          'work',
          {
            'run': self.name,
            'graph': self._graphs['work'].hash,
            'round': round_num,
            'applied': self._applied[name],
            'hold': hold,
          },
          {
            'server': server,
            'clients': [clients[own].astype(np.int64)],
            'epochs': [epochs[own].astype(np.float64)],
          },
        )
    kind = 'held' if hold else 'sent'
    answers = self._engine.ask(requests, kind, recover=self._recover, all_of_them=False)
    for name in sorted(answers):
      answer, asked = answers[name], requests[name].array('clients')
      if answer['round'] != round_num or not np.array_equal(answer.array('clients'), asked):
        raise SiteError(f'site {name}: answers for another round, or for other clients')
      yield name, asked, [] if hold else list(answer.arrays['sent'])

  def combine(
    self,
    round_num: int,
    server: Sequence[np.ndarray],
    numbers: Mapping[str, int],
    session: Mapping[str, Any],
  ) -> dict[str, list[np.ndarray]]:
    """Has sites make the terms of secure sums; gives what each says in the clear.

    Args:
      round_num: the round.
      server: what is broadcast.
      numbers: of those that hold what their clients have sent, in the session that follows.
      session: its `bits`, `threshold` and `attempt`, and its `sites` where it is signed.
    """
    graph = self._graphs['combine'].hash
    fields = {'run': self.name, 'graph': graph, 'round': round_num}
    requests = {
      name: Message(
        'combine', {**fields, 'session': {**session, 'number': number}}, {'server': server}
      )
      for name, number in numbers.items()
    }
    answers = self._engine.ask(requests, 'combined', once=True)
    return {name: list(answer.arrays['sent']) for name, answer in answers.items()}

  def session_step(
    self, round_num: int, step: int, payloads: Mapping[str, bytes]
  ) -> dict[str, bytes]:
    """What sites answer to a message of a session of secure aggregation."""
    fields = {'run': self.name, 'round': round_num, 'step': step}
    requests = {
      name: Message('session', fields, {'payload': [np.frombuffer(payload, np.uint8)]})
      for name, payload in payloads.items()
    }
    answers = self._engine.ask(requests, 'stepped', once=True)
    return {name: answer.array('payload').tobytes() for name, answer in answers.items()}

  def applied(self, round_num: int, clients: Sequence[int]) -> None:
    """Remembers for whom a round counts, to be told with the next message."""
    for name, site in self._engine.sites.items():
      own = [int(client) for client in clients if client in site.positions]
      self._applied[name][str(round_num)] = own

  def evaluate(
    self, round_num: int, server: Sequence[np.ndarray], purpose: str = 'evaluate'
  ) -> dict[str, Message]:
    """The sums of every site's tested clients.

    Args:
      round_num: the round.
      server: what the graph takes of the server: the model's weights, or its state.
      purpose: of the graph.
    """
    fields = {'run': self.name, 'graph': self._graphs[purpose].hash, 'round': round_num}
    tested = [name for name, site in self._engine.sites.items() if site.test_sizes.sum()]
    requests = {
      name: Message('evaluate', {**fields, 'applied': self._applied[name]}, {'server': server})
      for name in tested
    }
    return self._engine.ask(requests, 'evaluated', recover=self._recover, all_of_them=False)

  def commit(self, round_num: int) -> str:
    """Has all sites bring what their clients keep to the disk; gives what it is known by."""
    requests = {
      name: Message('commit', {'run': self.name, 'round': round_num, 'applied': applied})
      for name, applied in self._applied.items()
    }
    answers = self._engine.ask(requests, 'done', recover=self._recover)
    known_by = {name: answer['known_by'] for name, answer in answers.items()}
    for name in self._applied:
      self._applied[name] = {}
      self._resumed[name] = {'round': round_num, 'known_by': known_by[name]}
    return json.dumps(known_by, sort_keys=True)

  def advance(self, round_num: int, oldest: int) -> None:
    """Tells the sites which checkpoints there are."""
    fields = {'run': self.name, 'round': round_num, 'oldest': oldest}
    message = Message('advance', fields)
    requests = dict.fromkeys(self._engine.sites, message)
    self._engine.ask(requests, 'done', recover=self._recover)

  def withdraw(self, is_over: bool = False) -> None:
    """Tells the sites, those that can be reached, that nothing more is wanted of them.

    Args:
      is_over: whether the run was made to its end.
    """
    message = Message('withdraw', {'run': self.name, 'is_over': is_over})
    for name in [name for name, contact in self._engine.contacts.items() if contact.there]:
      try:
        self._engine.ask({name: message}, 'done', once=True)
      except SiteError as error:  # It has no such request, or the owner's policy has changed.
        self._engine.say(str(error))


class StatesAtSites:
  """What clients keep, as the checkpoints of a run see it: it stays where it is.

  Args:
    run: the run.
    begins: called before the sites are asked to begin.
  """

  def __init__(self, run: RunAtSites, begins: Callable[[], None]):
    self._run, self._begins = run, begins
    self._last_round = 0

  def applied(self, round_num: int, clients: Sequence[int]) -> None:
    """A round counts for these clients."""
    self._run.applied(round_num, clients)
    self._last_round = round_num

  def commit(self) -> str:
    """See `ClientStates.commit`."""
    return self._run.commit(self._last_round)

  def advance(self, round_num: int, oldest: int) -> None:
    """See `ClientStates.advance`."""
    self._run.advance(round_num, oldest)

  def restore(self, round_num: int, known_by: str) -> bool:
    """Has the sites go back; that one cannot ends the run, with its reason."""
    self._begins()
    self._run.begin(round_num, json.loads(known_by))
    self._last_round = round_num
    return True

  def clear(self) -> None:
    """The run begins."""
    self._begins()
    self._run.begin()

  def close(self) -> None:
    """Nothing is open here."""
