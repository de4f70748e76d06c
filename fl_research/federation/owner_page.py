"""The owner's page: what waits for a decision, what privacy has been spent, what has left."""

from collections.abc import Iterable, Iterator, Mapping
import pathlib

from fl_research.federation import audit_log, budget, guard, plain_words, requests
from fl_research.federation import policy as policies
from fl_research.federation.loopback_page import form_fields, LoopbackPage, text
from fl_research.federation.requests import Request
from fl_research.registry import UsageError

_NEWEST_LINES = 15
_BAR = 400


def serve(folder: pathlib.Path, rules: policies.Policy, port: int = 0) -> LoopbackPage:
  """Serves the page until it is closed.

  Args:
    folder: the site's.
    rules: the owner's policy.
    port: where; any free one when 0.

  Raises:
    UsageError: the port is taken, or the folder is not one that works (see `Guard`).
  """
  own = guard.Guard(folder, rules)
  return LoopbackPage(lambda token: render(own, token), lambda fields: act(own, fields), port)


def act(own: guard.Guard, fields: Mapping[str, str]) -> None:
  """Does what a button asks for.

  Raises:
    UsageError: the run cannot be approved, or a denial has no reason.
  """
  run_id, said = fields.get('run_id', ''), fields.get('said', '').strip()
  if fields.get('do') == 'approve':
    own.approve(run_id, said)
  elif fields.get('do') == 'deny':
    if not said:
      raise UsageError('A denial needs a reason, which the experimenter reads.')
    own.deny(run_id, said)


def render(own: guard.Guard, token: str) -> tuple[str, str]:
  """The page's title and body.

  Args:
    own: the guard of the site's folder.
    token: what its forms must send back.
  """
  found = own.requests.all()
  waiting = [request for request in found if request.status == requests.WAITING]
  decided = [request for request in found if request.status != requests.WAITING][::-1]
  sections = [
    '<header><h1>Your data</h1><p class="soft">What others ask to compute from it, and what has '
    'left</p></header>',
    _tiles(own, found),
    _log_state(own),
    _section('Waiting for your decision', _waiting(own, waiting, token)),
    _section('Privacy spent', _budgets(own)),
    _section('Decided', _decided(decided, token)),
    _section('The newest lines of the log', _newest(own)),
  ]
  title = f'({len(waiting)}) Your data' if waiting else 'Your data'
  return title, '\n'.join(sections)


def _section(title: str, parts: Iterable[str]) -> str:
  return f'<section><h2>{title}</h2>\n{"".join(parts)}</section>'


def _tiles(own: guard.Guard, found: list[Request]) -> str:
  count = lambda status: sum(request.status == status for request in found)
  rounds = {
    (run_id, round_num)
    for runs in own.ledger.data_sets().values()
    for run_id, run in runs.items()
    for round_num in run.rounds
  }
  tiles = {
    'waiting': count(requests.WAITING),
    'approved': count(requests.APPROVED),
    'denied': count(requests.DENIED),
    'rounds of training': len(rounds),
  }
  inner = ''.join(
    f'<div class="tile"><b>{value:,}</b><span>{name}</span></div>' for name, value in tiles.items()
  )
  return f'<div class="tiles">{inner}</div>'


def _log_state(own: guard.Guard) -> str:
  fault = audit_log.verify(own.log.path)
  if fault:
    return f'<p class="note"><b>The log is broken:</b> {text(fault)}. Nothing should run here.</p>'
  noted = audit_log.head_hash(own.log.path)
  return (
    '<p class="good">The log is whole: each line follows from the one before it. To be noted '
    f'elsewhere: <code>{noted}</code></p>'
  )


def _waiting(own: guard.Guard, waiting: list[Request], token: str) -> Iterator[str]:
  if not waiting:
    yield '<p class="soft">Nothing waits.</p>'
  for request in waiting:
    decision = own.decide(request.proposal)
    verdict = {
      policies.ALLOWED: 'The policy would let it through.',
      policies.ASK: 'The policy leaves it to you:',
      policies.DENIED: 'The policy denies it, and so it cannot be approved:',
    }[decision.verdict]
    yield (
      f'<article><h3>{text(plain_words.headline(request.proposal))}</h3>'
      f'<p class="soft">{text(request.asked)} · {text(request.run_id)}</p>'
      f'<p>{verdict} {text(" ".join(decision.reasons))}</p>'
      f'{_described(own, request)}'
    )
    if decision.verdict != policies.DENIED:
      yield _form(request, token, 'approve', 'Approve', 'a note, kept with it (may be empty)')
    yield _form(request, token, 'deny', 'Deny', 'the reason, for the experimenter')
    yield '</article>'


def _described(own: guard.Guard, request: Request) -> str:
  entries = (
    f'<dt>{text(heading)}</dt>' + ''.join(f'<dd>{text(sentence)}</dd>' for sentence in sentences)
    for heading, sentences in own.describe(request.proposal).items()
    if sentences
  )
  return f'<dl>{"".join(entries)}</dl>'


def _form(request: Request, token: str, do: str, label: str, hint: str) -> str:
  needed = ' required' if do == 'deny' else ''
  kind = 'no' if do == 'deny' else 'yes'
  return (
    f'<form method="post" action="/">{form_fields(token, do=do, run_id=request.run_id)}'
    f'<input type="text" name="said" maxlength="500" aria-label="{hint}" placeholder="{hint}"'
    f'{needed}><button class="{kind}">{label}</button></form>'
  )


def _budgets(own: guard.Guard) -> Iterator[str]:
  privacy = own.policy.privacy
  spent = own.ledger.data_sets()
  names = sorted({*spent, *privacy.data_sets})
  if not names:
    yield '<p class="soft">Nothing has been spent.</p>'
  for name in names:
    delta, most = privacy.delta_of(name), privacy.budget(name).most_epsilon
    epsilon = budget.epsilon(spent.get(name, {}), delta)
    limit = 'no limit is set' if most is None else f'of at most {most:g}'
    yield (
      f'<p><b>{text(name)}</b>: epsilon {policies.epsilon_text(epsilon)}, {limit}, at delta '
      f'{delta:g}</p>'
    )
    if most:
      yield _bar(min(epsilon / most, 1.0))


def _bar(share: float) -> str:
  """A bar that is filled so far; nothing but numbers goes into it."""
  return (
    f'<svg width="{_BAR}" height="14" role="img" aria-label="{share:.0%} spent">'
    f'<rect width="{_BAR}" height="14" rx="4" fill="var(--panel)" stroke="var(--line)"/>'
    f'<rect width="{share * _BAR:.1f}" height="14" rx="4" fill="var(--accent)"/></svg>'
  )


def _decided(decided: list[Request], token: str) -> Iterator[str]:
  if not decided:
    yield '<p class="soft">None.</p>'
  for request in decided:
    yield (
      f'<details><summary>{text(request.status)}: '
      f'{text(plain_words.headline(request.proposal))}</summary>'
      f'<p class="soft">{text(request.decided)}, by the {text(request.by)} · '
      f'{text(request.run_id)}</p><p>{text(" ".join(request.reasons))}</p>'
    )
    if request.note:
      yield f'<p>Note: {text(request.note)}</p>'
    if request.status == requests.APPROVED:
      yield _form(request, token, 'deny', 'Take back', 'the reason, for the experimenter')
    yield '</details>'


def _newest(own: guard.Guard) -> Iterator[str]:
  if audit_log.verify(own.log.path):
    yield '<p class="soft">Not shown, as the log is broken.</p>'
    return
  entries = audit_log.newest(own.log.path, _NEWEST_LINES)
  lines = '\n'.join(text(plain_words.log_line(entry)) for entry in entries)
  yield f'<pre>{lines or "Nothing yet."}</pre>'
