"""Requests, policies and log lines in plain words, for whoever decides about the data."""

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from fl_research.federation import budget, graph_check, policy
from fl_research.federation import proposal as proposals
from fl_research.federation.proposal import Proposal

_LEAVES = {
  proposals.UPDATES: (
    'how the model changed by training here, for each client: numbers, from which much about '
    'single rows can be inferred where neither a sum nor noise hides it'
  ),
  proposals.MASKED_UPDATES: (
    'how the model changed by training here, hidden by masks: of use only in a sum with others'
  ),
  proposals.TRAINING_METRICS: 'how well the model did on the rows that each client trained it on',
  proposals.EVALUATION_SUMS: (
    'how well the model did on the test rows of each client; of two classes also how often each '
    'score occurs in each, in thousandths, of all clients of the site together'
  ),
  proposals.COLUMN_STATISTICS: 'of columns: counts, means, spreads, the categories there are',
  proposals.COUNTS: 'how many clients and rows there are',
}
_SUMS = {
  proposals.NO_SUMS: 'Updates are not summed before the experimenter sees them.',
  proposals.CLEAR: (
    "The experimenter's program sums updates, having seen each; that it keeps only the sum is a "
    'promise.'
  ),
  proposals.PROTOCOL: (
    'The experimenter sees a sum of updates and none of them alone, unless it works together with '
    'enough of the other sites.'
  ),
}


def describe(
  proposal: Proposal, rules: policy.Policy, history: policy.History, epsilon_so_far: float
) -> dict[str, tuple[str, ...]]:
  """Sentences by heading, in the order in which they are read.

  Args:
    proposal: what is asked for.
    rules: the owner's policy.
    history: what went before it.
    epsilon_so_far: what has been spent of the data set's ε.
  """
  return {
    'Who asks': (_who(proposal, rules),),
    'What would run': tuple(_run(proposal)),
    'Which data': tuple(_data(proposal)),
    'What leaves the site': tuple(_leaves(proposal, rules.release)),
    'Who sees it': tuple(_sums(proposal)),
    'Differential privacy': tuple(_privacy(proposal, rules, history, epsilon_so_far)),
    'Programs': tuple(_graphs(proposal)),
    'Other settings': tuple(f'{name} = {value}' for name, value in sorted(proposal.flags.items())),
  }


def headline(proposal: Proposal) -> str:
  """The request in a line."""
  return (
    f'{proposal.experimenter.name}: {proposal.algorithm} of {proposal.model} on '
    f'{proposal.data_set}, {counted(proposal.total_rounds, "round")}'
  )


def counted(number: int, what: str) -> str:
  """`1 round`, `2,000 rounds`."""
  return f'{number:,} {what}' if number == 1 else f'{number:,} {what}s'


def _who(proposal: Proposal, rules: policy.Policy) -> str:
  asks = proposal.experimenter
  known = rules.experimenters.name(asks.key)
  if known:
    return (
      f'{known}, by a signature with the key that the policy has; the request says {asks.name}.'
    )
  if asks.key:
    return (
      f'Somebody who calls themselves {asks.name}, with the key {asks.key[:16]}…, which the policy '
      'does not know.'
    )
  return f'Somebody who calls themselves {asks.name}; nothing vouches for it.'


def _run(proposal: Proposal) -> Iterator[str]:
  yield (
    f'A model called {proposal.model} of {counted(proposal.parameters, "number")} is trained by '
    f'{proposal.algorithm} in {counted(proposal.total_rounds, "round")}.'
  )
  batches = f'batches of {proposal.batch_size}' if proposal.batch_size else 'one batch'
  passes = counted(proposal.epochs, 'pass').replace('passs', 'passes')
  work = f'{passes} over its rows' if proposal.epochs else 'the steps that the settings below say'
  yield (
    f'In each round {counted(proposal.clients_per_round, "client")} of all sites take part, each '
    f'with {work} in {batches}.'
  )
  packed = f', compressed by {proposal.compressor}' if proposal.compressor else ''
  yield f'Updates are combined by {proposal.aggregator}{packed}.'


def _data(proposal: Proposal) -> Iterator[str]:
  yield f'The data set {proposal.data_set}.'
  if proposal.columns:
    named = ', '.join(f'{column.name} ({column.role})' for column in proposal.columns)
    yield f'Of it these columns: {named}.'
  else:
    yield 'The request names no columns: it uses the data set as it is.'


def _leaves(proposal: Proposal, rules: policy.ReleaseRules) -> Iterator[str]:
  if not proposal.releases:
    yield 'Nothing.'
  withheld = rules.withholds_metrics
  for release in proposal.releases:
    name, size = release.kind.capitalize(), _bytes(release.bytes_per_round)
    if withheld and release.kind == proposals.TRAINING_METRICS:
      yield f'{name}: asked for, and withheld by the policy; nothing of them leaves.'
    else:
      yield f'{name}: {_LEAVES[release.kind]}; at most {size} a round.'
  if any(proposal.release(kind) for kind in proposals.MODEL_KINDS):
    yield from _beside_updates(proposal, withheld)


def _beside_updates(proposal: Proposal, withheld: bool) -> Iterator[str]:
  """What is said of clients in the messages with updates, or beside what is masked."""
  facts = ['how many rows it has', 'how many steps it has made']
  if proposal.release(proposals.TRAINING_METRICS) and not withheld:
    facts.append('its training metrics')
  masked = proposal.release(proposals.MASKED_UPDATES) is not None
  where = 'Beside masked updates goes, without a mask' if masked else 'With updates goes'
  yield f'{where}, of each client: {", ".join(facts)}.'


def _bytes(size: float) -> str:
  for unit in ('bytes', 'kB', 'MB'):
    if size < 1000:
      return f'{size:.3g} {unit}'
    size /= 1000
  return f'{size:.3g} GB'


def _sums(proposal: Proposal) -> Iterator[str]:
  yield _SUMS[proposal.secure_aggregation.kind]
  if proposal.secure_aggregation.kind != proposals.NO_SUMS:
    others = counted(proposal.secure_aggregation.least_others, 'other site')
    yield f'Each sum is to have the updates of at least {others} in it.'


def _who_adds(asked: proposals.Privacy) -> str:
  if asked.site_draws:
    return 'This site adds'
  if asked.kind == proposals.LOCAL:
    return "The experimenter's program adds to every client's update, from a seed that it knows,"
  return "The experimenter's program adds"


def _privacy(
  proposal: Proposal, rules: policy.Policy, history: policy.History, epsilon_so_far: float
) -> Iterator[str]:
  asked, data_set = proposal.privacy, proposal.data_set
  if asked.kind == proposals.NOT_PRIVATE:
    yield 'None: nothing bounds what the updates may tell about a single client.'
  else:
    yield (
      f'{_who_adds(asked)} noise of {asked.noise_multiplier:g} times the norm {asked.clip_norm:g} '
      'to which updates are cut.'
    )
    if asked.site_draws:
      yield (
        'It does so to the update of every client, before anything leaves and whatever the '
        "experimenter's program has made of it; nobody else can know the noise."
      )
    yield (
      f"By this site's own account the run has epsilon {policy.epsilon_text(history.run_epsilon)} "
      f'at delta {asked.delta:g}; the request says {asked.epsilon:g}. It is about the updates, and '
      'about nothing else that leaves.'
    )
    if rules.privacy.trust_sampling and budget.mechanism_of(proposal).drawing.amplifies:
      yield (
        f'That counts on the experimenter, who says that {proposal.clients_per_round:,} of '
        f'{asked.num_clients:,} clients are drawn at random in each round and that nobody learns '
        'which.'
      )
  most = rules.privacy.budget(data_set).most_epsilon
  limit = 'no limit is set' if most is None else f'the limit is {most:g}'
  yield (
    f'So far runs on {data_set} have spent epsilon {policy.epsilon_text(epsilon_so_far)}; with all '
    f'that is approved and this run it would be {policy.epsilon_text(history.epsilon_after)}; '
    f'{limit}.'
  )


def _graphs(proposal: Proposal) -> Iterator[str]:
  if not proposal.graphs:
    yield 'None is sent: only what is installed here runs.'
  for graph in proposal.graphs:
    foreign = graph_check.not_allowed(graph.operations)
    yield f'{graph.purpose}: SHA-256 {graph.sha256}.'
    yield (
      f'It consists of {counted(len(graph.operations), "kind")} of operations, '
      + (_harmless() if not foreign else f'of which these are not allowed: {", ".join(foreign)}.')
    )


def _harmless() -> str:
  return (
    'all on the list of those that only compute: none reads or writes files, opens connections or '
    'runs other programs. That is checked again before it runs.'
  )


def describe_policy(rules: policy.Policy) -> dict[str, tuple[str, ...]]:
  """What a policy lets through, as sentences by section of its file."""
  return {
    'decision': (
      f'A request within all limits: {_OUTCOMES[rules.decision.within]}.',
      'A request beyond one gets what the limit says, the strictest of several.',
    ),
    'experimenters': tuple(_who_may(rules.experimenters)),
    'data': tuple(_data_rules(rules.data)),
    'training': tuple(_training_rules(rules.training)),
    'privacy': tuple(_privacy_rules(rules.privacy)),
    'secure_aggregation': (
      f'At least {rules.secure_aggregation.least}, with at least '
      f'{counted(rules.secure_aggregation.least_others, "other site")}; otherwise: '
      f'{_OUTCOMES[rules.secure_aggregation.beyond]}.',
      *_signed_sums(rules.secure_aggregation),
    ),
    'release': tuple(_release_rules(rules.release)),
    'survey': tuple(_survey_rules(rules.survey)),
  }


_OUTCOMES = {'allow': 'allowed at once', 'ask': 'a person decides', 'deny': 'denied'}


def _listed(names: tuple[str, ...]) -> str:
  return ', '.join(names) or 'none'


def _listed_or_any(names: Optional[tuple[str, ...]]) -> str:
  return 'any' if names is None else _listed(names)


def _who_may(rules: policy.Experimenters) -> Iterator[str]:
  if not rules.keys:
    yield 'Anybody may ask.'
  else:
    yield f'Known by their keys: {_listed(tuple(rules.keys))}. Others: {_OUTCOMES[rules.beyond]}.'


def _data_rules(rules: policy.Data) -> Iterator[str]:
  yield f'Data sets: {_listed_or_any(rules.sets)}.'
  if rules.withheld_columns:
    yield f'Columns withheld: {_listed(rules.withheld_columns)}.'
  yield f'Beyond this section: {_OUTCOMES[rules.beyond]}.'


def _training_rules(rules: policy.Training) -> Iterator[str]:
  yield f'Algorithms: {_listed_or_any(rules.algorithms)}.'
  limits = {'a run': rules.most_rounds_per_run, 'all runs together': rules.most_rounds}
  for what, most in limits.items():
    if most is not None:
      yield f'Rounds of {what}: at most {most:,}.'
  yield f'Beyond this section: {_OUTCOMES[rules.beyond]}.'


def _privacy_rules(rules: policy.PrivacyRules) -> Iterator[str]:
  yield f'Differential privacy: {_listed(rules.kinds)}. All else is denied.'
  if not rules.trust_sampling:
    yield 'That cohorts are drawn at random does not make epsilon smaller.'
  for data_set in ('', *rules.data_sets):
    limits = rules.budget(data_set)
    where = f'on {data_set}' if data_set else 'on a data set'
    most = 'any' if limits.most_epsilon is None else f'at most {limits.most_epsilon:g}'
    least = 'any' if limits.least_noise is None else f'at least {limits.least_noise:g}'
    yield (
      f'All runs {where}: epsilon {most} at delta {rules.delta_of(data_set):g}; noise multiplier '
      f'of each {least}.'
    )


def _signed_sums(rules: policy.SecureAggregationRules) -> Iterator[str]:
  if rules.sites:
    yield (
      f'Sums by the protocol are signed, and among {", ".join(sorted(rules.sites))} only, whose '
      'keys the policy has.'
    )


def _release_rules(rules: policy.ReleaseRules) -> Iterator[str]:
  yield f'May leave: {_listed(rules.kinds)}. Others: {_OUTCOMES[rules.beyond]}.'
  yield (
    f'A message is about at least {counted(rules.least_clients, "client")} and '
    f'{counted(rules.least_rows, "row")}, or it is not made.'
  )
  if rules.withholds_metrics:
    yield 'Training metrics are withheld: a run that asks for them goes on without those of here.'


def _survey_rules(rules: policy.SurveyRules) -> Iterator[str]:
  yield f'May be known before a run is asked for: {_listed(rules.kinds)}. Others: denied.'
  yield f'Categories of a column are named that have at least {counted(rules.least_rows, "row")}.'
  if rules.sums == proposals.PROTOCOL:
    yield 'Sums of columns are given by secure aggregation only: nobody sees those of here alone.'


def log_line(entry: Mapping[str, Any]) -> str:
  """A line of the log for people."""
  run = f' {entry["run"][:12]}' if 'run' in entry else ''
  parts = [f'{entry["number"]:>5}  {entry["time"]}  {entry["what"]}{run}']
  if 'round' in entry:
    kinds = ' with '.join(filter(None, (entry['kind'], ' and '.join(entry.get('beside', ())))))
    parts.append(f'{kinds}, round {entry["round"]}')
  if 'count' in entry:
    parts.append(counted(entry['count'], 'message'))
  if 'bytes' in entry:
    parts.append(counted(entry['bytes'], 'byte'))
  if 'epsilon' in entry:
    parts.append(f'epsilon of {entry["data_set"]} now {entry["epsilon"]}')
  parts += [str(entry[name]) for name in ('name', 'status', 'note') if entry.get(name)]
  why = entry.get('why', '')
  if why:
    parts.append(why if isinstance(why, str) else ' '.join(why))
  return ': '.join((parts[0], ', '.join(parts[1:]))) if parts[1:] else parts[0]
