"""Flag files say what to expect: `# Expected: …` and the chosen settings, from the ledger."""

from collections.abc import Sequence
import re

from baselines import measurement, protocols, studies
from baselines.claims import Claim
from baselines.studies import Study

MOST_LINES = 15
_EXPECTED = '# Expected: '


def updated(study: Study, claims: Sequence[Claim]) -> str:
  """The text of a study's flag file, with what the first of its measured claims found."""
  text = study.flag_file.read_text()
  fullest = protocols.fullest(claims)
  claim = next((c for c in fullest if study.name in c.arms[0] and c.verdict and c.ours), None)
  if claim is None:
    return text
  outcome = measurement.arm(study, claim)
  for name, value in _settings(outcome.chosen):
    text = _with_flag(text, name, value)
  return _with_expected(text, _expectation(study, claim, outcome))


def _settings(chosen: str) -> list[tuple[str, str]]:
  return [part.partition('=')[::2] for part in chosen.split(',') if part]  # type: ignore[misc]


def _with_flag(text: str, name: str, value: str) -> str:
  line = f'--{name}={value}\n'
  found = re.compile(rf'^--{name}=.*\n', re.MULTILINE)
  return found.sub(line, text) if found.search(text) else text + line


def _with_expected(text: str, line: str) -> str:
  """The text with its line of expectation, after the comments at its head."""
  lines = [one for one in text.splitlines() if not one.startswith(_EXPECTED)]
  head = next(i for i, one in enumerate([*lines, '']) if not one.startswith('#'))
  return '\n'.join([*lines[:head], line, *lines[head:]]) + '\n'


def _expectation(study: Study, claim: Claim, outcome: measurement.Outcome) -> str:
  facts = studies.load_facts(study.folder, study.name)
  minutes = facts.loc[facts['cell'] == outcome.chosen, 'seconds'].astype(float).mean() / 60
  return (
    f'{_EXPECTED}{claim.measure}: {outcome.values.mean():.4g} (mean of {len(outcome.values)} '
    f'seeds), {minutes:.1f} minutes a run.'
  )
