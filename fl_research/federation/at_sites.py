"""Rounds on machines that keep their data: the clients' half at the sites, the server's half here.

A round is that of `fl_research.training.synchronous`, cut where messages arrive
(`fl_research.round.split`): the same cohort, the same work, and the same sum of the same messages
in the same order, so that the model is the simulation's. A site that has not answered in time
counts as one whose clients dropped out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import getpass
import pathlib
import time
from typing import Any, Optional

import numpy as np

from fl_research import client_data, metrics, runtime
from fl_research.federation import (
  asking,
  client_graph,
  experimenter_page,
  graph_store,
  messages,
  proposal,
  secure_rounds,
  signing,
  work_graph,
)
from fl_research.federation import engine as engine_lib
from fl_research.federation.run_at_sites import RunAtSites, StatesAtSites
from fl_research.population import cohorts, participation
from fl_research.round import split
from fl_research.settings import Settings
from fl_research.training import columns as columns_lib
from fl_research.training import driver, model_evaluation, personal_evaluation, run_folder
from fl_research.training.run_data import RunData

_GRAPHS = 'graphs'


class AtSites:
  """A `driver.Driver` of rounds at sites.

  Args:
    process: the method, in two halves.
    plans: who takes part, and how.
    work: the clients' half.
    run: the run at the sites.
    states: what clients keep there.
    secure: the server's half where no site shows what its clients send; None where they do.
  """

  def __init__(
    self,
    process: split.SplitProcess,
    plans: participation.Participation,
    work: work_graph.WorkGraph,
    run: RunAtSites,
    states: StatesAtSites,
    secure: Optional[secure_rounds.SecureRounds],
  ):
    self._process, self._plans = process, plans
    self._work, self._run, self.states = work, run, states
    self._secure = secure

  def columns(self) -> columns_lib.ByTrainedRound:
    return {}

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Nothing is carried from round to round."""

  def saved(self) -> Mapping[str, np.ndarray]:
    return {}

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    yield

  def step(self, number: int, state: Any, client_states: Any, seconds: float) -> driver.Step:
    del client_states  # They are at the sites.
    plan = self._plans.plan(number, seconds)
    server = self._work.server_arrays(state)
    asked = number, server, plan.uploading, plan.epochs
    if self._secure is not None:
      held = {name: clients for name, clients, _ in self._run.work(*asked, hold=True)}
      new_state, measured = self._secure.apply(state, number, held, self._run)
      plan = _without_the_silent(plan, [int(own) for own in measured['report']['client']])
    else:
      sent: dict[int, Any] = {}
      for _, clients, arrays in self._run.work(*asked):
        sent.update(zip(clients.tolist(), self._work.results(arrays), strict=True))
      plan = _without_the_silent(plan, sent)
      results = [sent[client] for client in plan.uploading.tolist()]
      stacked = runtime.stack_clients(results)
      new_state, measured, _ = self._process.run_apply(state, stacked, np.ones(len(results)))
    self.states.applied(number, self._counting(measured))

    def ends(trained: columns_lib.TrainedRound) -> float:
      return max(seconds, plan.begins) + trained.simulated_seconds(self._plans)

    return driver.Step(new_state, measured, plan, ends)

  def _counting(self, measured: Any) -> list[int]:
    """The clients whose update was used."""
    values = np.asarray(measured['report']['values'])
    finite = values[:, self._process.report_columns.index('finite')] > 0
    return [int(client) for client in np.asarray(measured['report']['client'])[finite]]


def _without_the_silent(
  plan: participation.RoundPlan, heard_of: Iterable[int]
) -> participation.RoundPlan:
  """The plan, with clients of whom nothing was heard as dropouts."""
  heard = np.isin(plan.uploading, list(heard_of))
  return dataclasses.replace(
    plan,
    uploading=plan.uploading[heard],
    epochs=plan.epochs[heard],
    dropouts=plan.dropouts + int(np.count_nonzero(~heard)),
  )


class EvaluationAtSites(model_evaluation.ModelEvaluation):
  """Evaluates on the sites' test examples, of which sums come back.

  `eval/<metric>` are of sums over all of them; areas under curves are those of rounded scores
  (`metrics.from_further_sums`). By client, `eval_clients/<metric>_<statistic>`, they are exact.

  Of methods whose clients have models of their own these, on each client's own test examples, are
  `personal/<metric>` and `eval_clients/…`; the global model is `global/…`, where it is of use.
  There is no central test set, so that no `eval/…` says how they do on it.

  Args:
    run: the run at the sites.
    sites: what is known of each.
    data: the run's data.
    process: the method.
  """

  def __init__(
    self,
    run: RunAtSites,
    sites: Mapping[str, engine_lib.SiteFacts],
    data: RunData,
    process: split.SplitProcess,
  ):
    self._run, self._sites, self._data, self._process = run, sites, data, process
    self._evaluations = 0
    personal = process.method.personal
    self.headline = personal_evaluation.PERSONAL if personal else 'eval'
    problem, classes = data.problem, data.num_classes
    self._sums = metrics.sum_names(problem, classes)
    self._of_client = metrics.names(problem, classes)
    by_client = [
      f'{metric}_{statistic}'
      for metric in metrics.distributed(problem, classes)
      for statistic in model_evaluation.STATISTICS
    ]
    self._names = {self.headline: list(self._of_client), 'eval_clients': by_client}
    if personal and process.method.global_model:
      both = personal_evaluation.GLOBAL
      self._names.update({both: list(self._of_client), f'{both}_clients': by_client})

  def own_models(self, process, settings):
    return self if process.method.personal else None

  def at(self, state: Any, client_states: Any) -> list[np.ndarray]:
    """What sites need of the server to evaluate what their clients would use."""
    del client_states  # They are at the sites.
    return work_graph.server_leaves(self._process, state)

  def evaluate(self, weights, personal=None):
    row: dict[str, Any] = {}
    rows: model_evaluation.Rows = []
    model = [np.asarray(w) for w in weights]
    if personal is None:
      row.update(self._evaluated('eval', 'eval', self._ask(model, 'evaluate'), rows))
    else:
      own = self._ask(personal, 'evaluate_own')
      row.update(self._evaluated(self.headline, 'eval', own, rows))
      if (phase := personal_evaluation.GLOBAL) in self._names:
        row.update(self._evaluated(phase, phase, self._ask(model, 'evaluate'), rows))
    self._evaluations += 1
    return row, rows

  def _ask(self, server: Sequence[np.ndarray], purpose: str) -> Mapping[str, messages.Message]:
    return self._run.evaluate(self._evaluations, server, purpose)

  def _evaluated(
    self,
    group: str,
    phase: str,
    answers: Mapping[str, messages.Message],
    rows: model_evaluation.Rows,
  ) -> dict[str, Any]:
    """The columns of all examples together, and those by client, whose rows are added."""
    if not answers:
      return {f'{g}/{name}': None for g in (group, f'{phase}_clients') for name in self._names[g]}
    ids = [own for name in sorted(answers) for own in self._tested_ids(name)]
    parts = ('sizes', 'sums', 'metrics')
    tables = [[answers[name].array(part) for part in parts] for name in sorted(answers)]
    sizes, sums, values = (np.concatenate(each) for each in zip(*tables))
    problem = self._data.problem
    total = dict(zip(self._sums, sums.sum(axis=0)))
    further = np.sum([answers[name].array('further') for name in sorted(answers)], axis=0)
    overall = {name: float(value) for name, value in metrics.from_sums(problem, total).items()}
    overall.update(metrics.from_further_sums(problem, further))
    row = self._row(group, overall)
    by_client = dict(zip(self._of_client, values.T))
    row.update(self._distributions(phase, by_client))
    rows += model_evaluation.long_rows(phase, ids, sizes.tolist(), by_client)
    return row

  def _tested_ids(self, name: str) -> list[str]:
    """Names of a site's tested clients: those that train, where they are as many."""
    site = self._sites[name]
    if len(site.ids) == len(site.test_sizes):
      return list(site.ids)
    return [f'{name}/test_{number}' for number in range(len(site.test_sizes))]

  def answers(self, evaluator, weights):
    return None

  def own_answers(self, personal):
    return None


class Sites:
  """The sites that have a run's data, as the experiment sees them (`driver.Elsewhere`).

  Args:
    engine: the way to them.
  """

  def __init__(self, engine: engine_lib.Engine):
    self.engine = engine
    self._run: Optional[RunAtSites] = None
    self._closes = contextlib.ExitStack()

  def build(
    self,
    settings: Settings,
    process: Any,
    data: RunData,
    plans: participation.Participation,
  ) -> tuple[AtSites, model_evaluation.ModelEvaluation, StatesAtSites]:
    """What makes the server step, what evaluates, and what clients keep.

    Where a private run withholds what ε does not cover, nothing is evaluated: test examples are
    those of the sites' clients.
    """
    work = work_graph.WorkGraph(process)
    folder = run_folder.RunFolder(settings).path / _GRAPHS
    secure = secure_rounds.SecureRounds(process, self.engine.say) if settings.by_protocol else None
    graphs = graph_store.load(folder) or {
      'work': work.graph,
      **({} if settings.withholds else _evaluations(process)),
      **({} if secure is None else {'combine': secure.graph}),
    }
    facts = {
      'batch_size': settings.batch_size or client_data.FULL_BATCH,
      'seed': settings.seed,
      'max_examples': settings.max_examples_per_client or None,
      'kernel_threads': settings.kernel_threads,
    }
    self._page(settings)
    asked, signature = _request(settings, data, process, self.engine, graphs, plans.sampler)
    initial = work.initial_client_state()
    measured = columns_lib.of_training(process, data)
    run = RunAtSites(self.engine, asked, signature, facts, initial, graphs, measured)
    self._run = run
    states = StatesAtSites(run, lambda: graph_store.save(folder, graphs))
    rounds = AtSites(process, plans, work, run, states, secure)
    if settings.withholds:
      return rounds, model_evaluation.NoEvaluation(), states
    return rounds, EvaluationAtSites(run, self.engine.sites, data, process), states

  def _page(self, settings: Settings) -> None:
    """Shows how the run stands, to whoever has an account on this machine and the address."""
    if settings.page_port is None:
      return
    name, metrics_file = settings.experiment_name, run_folder.RunFolder(settings).metrics

    def state() -> experimenter_page.RunState:
      now = time.monotonic()
      sites = [
        experimenter_page.SiteState(
          name=site.name,
          there=contact.there,
          last_heard=now - contact.heard,
          status=contact.status,
          clients=len(site.ids),
          rows=int(site.sizes.sum()),
        )
        for site in self.engine.sites.values()
        for contact in [self.engine.contacts[site.name]]
      ]
      return experimenter_page.RunState(
        name, settings.total_rounds, sites, tuple(self.engine.refusals)
      )

    page = experimenter_page.serve(state, metrics_file, settings.page_port)
    self._closes.callback(page.close)
    self.engine.say(f'how the run stands: {page.address}')

  def heed(self, interrupted: Callable[[], str]) -> None:
    """Ends the wait for a site's owner where this gives a reason."""
    self.engine.interrupted = interrupted

  def release(self) -> None:
    """Tells the sites that the run is over."""
    if self._run is not None:
      self._run.withdraw(is_over=True)

  def traffic(self) -> Mapping[str, Any]:
    """Bytes to and from each site so far."""
    return self.engine.traffic()

  def close(self) -> None:
    """Ends the connection to them."""
    self._closes.close()
    self.engine.close()


def _evaluations(process: split.SplitProcess) -> dict[str, client_graph.ClientGraph]:
  """What evaluates, by purpose: the global model, and what each client would use."""
  method, graphs = process.method, {}
  if method.personal:
    graphs['evaluate_own'] = work_graph.own_evaluation_graph(process)
  if not method.personal or method.global_model:
    graphs['evaluate'] = work_graph.evaluation_graph(process.parts.model)
  return graphs


def _request(
  settings: Settings,
  data: RunData,
  process: split.SplitProcess,
  engine: engine_lib.Engine,
  graphs: Mapping[str, client_graph.ClientGraph],
  sampler: cohorts.CohortSampler,
) -> tuple[proposal.Proposal, str]:
  """What is asked of the sites, and its signature in hexadecimal, empty without a key."""
  key = (
    signing.load_key(pathlib.Path(settings.experimenter_key)) if settings.experimenter_key else None
  )
  public = signing.public_key(key) if key else ''
  who = proposal.Experimenter(settings.experimenter_name or getpass.getuser(), public)
  asked = asking.of(settings, data, process, engine, graphs, who, sampler)
  return asked, key.sign(asked.canonical()).hex() if key else ''
