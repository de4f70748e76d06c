"""Which algorithm goes with which aggregator, compressor and privacy, asked of the checks.

`docs/combinations.md` is generated from here (`python -m fl_research.soundness.combinations`), so
that the table says what `experiments.train` would: a cell *runs*, or holds the reason of the
refusal.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import itertools
import pathlib
from typing import Any

from fl_research import aggregation, algorithms
from fl_research import settings as settings_lib
from fl_research.aggregation import compression
from fl_research.registry import UsageError
from fl_research.soundness import validation

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'combinations.md'

CHAINS = ('rotation,quantize:2', 'subsample:0.25,rotation,quantize:2', 'random_mask:0.25,quantize')
"""Chains of compressors that have columns of their own, beside each compressor alone."""

PRIVACIES: Mapping[str, Mapping[str, Any]] = {
  'none': {},
  'fixed clip': {'dp_noise_multiplier': 0.1, 'dp_clip_norm': 1.0},
  'adaptive clip': {'dp_noise_multiplier': 0.1, 'dp_clipping': 'adaptive'},
  'local noise': {'dp_place': 'local', 'dp_noise_multiplier': 0.1, 'dp_clip_norm': 1.0},
  'secure sums': {'secure_aggregation': 'clear'},
  'secure, fixed clip': {
    'secure_aggregation': 'clear',
    'dp_noise_multiplier': 0.1,
    'dp_clip_norm': 1.0,
  },
}
"""Kinds of privacy, differential and by secure aggregation, as settings."""

ELSEWHERE: Mapping[str, Mapping[str, Any]] = {
  'buffer': {'aggregation_trigger': 'buffer'},
  'deadline': {
    'aggregation_trigger': 'deadline',
    'hyperparameters': {'deadline_seconds': 60.0},
  },
  'federation': {'runtime': 'federation', 'federation': 'direct:a=unix:/a.sock'},
}
"""Ways to run that not every method goes with, as settings."""

_BASE: Mapping[str, Any] = {
  'experiment_name': 'combination',
  'task': 'digits',
  'model': 'mlp',
  'num_clients': 8,
  'clients_per_round': 8,
  'max_examples_per_client': 25,
  'total_rounds': 2,
}
_SMALL_MODEL = {'mlp_hidden_units': 4, 'mlp_hidden_layers': 1}


@dataclasses.dataclass(frozen=True)
class Combination:
  """One cell of the table.

  Attributes:
    algorithm, aggregator: names in their registries.
    compressor: a chain, or empty.
    privacy: a name in `PRIVACIES`.
  """

  algorithm: str
  aggregator: str
  compressor: str
  privacy: str

  def settings(self) -> settings_lib.Settings:
    """A run of two rounds of a small model on the embedded digits."""
    return self._settings(_SMALL_MODEL)

  def _settings(self, hyperparameters: Mapping[str, Any]) -> settings_lib.Settings:
    asking = (aggregation.AGGREGATORS[self.aggregator], algorithms.ALGORITHMS[self.algorithm])
    return settings_lib.Settings(
      algorithm=self.algorithm,
      aggregator=self.aggregator,
      compressor=self.compressor,
      hyperparameters=hyperparameters,
      server_examples=20 if any(entry.needs_server_examples for entry in asking) else 0,
      **PRIVACIES[self.privacy],
      **_BASE,
    )

  @functools.cache  # noqa: B019  there are as many as the table has cells
  def refusal(self) -> str:
    """Why it is refused, as the user would read it; empty when it runs."""
    try:
      # The model's size is nothing that a check looks at, but takes a while to look up.
      validation.validate(self._settings({}))
    except UsageError as error:
      return str(error)
    return ''


def combinations() -> Iterator[Combination]:
  """Every cell of the table."""
  compressors = ('', *compression.COMPRESSORS, *CHAINS)
  cells = itertools.product(algorithms.ALGORITHMS, aggregation.AGGREGATORS, compressors, PRIVACIES)
  return (Combination(*cell) for cell in cells)


def _elsewhere(algorithm: str, flags: Mapping[str, Any]) -> str:
  """Why a method is refused with these flags; empty when it runs."""
  known = 20 if algorithms.ALGORITHMS[algorithm].needs_server_examples else 0
  settings = settings_lib.Settings(
    experiment_name='combination',
    task='digits',
    algorithm=algorithm,
    server_examples=known,
    **flags,
  )
  try:
    validation.validate(settings)
  except UsageError as error:
    return str(error)
  return ''


def page() -> str:
  """The content of docs/combinations.md."""
  compressors = ('', *compression.COMPRESSORS, *CHAINS)
  reasons: dict[str, int] = {}
  number_of = lambda refusal: reasons.setdefault(refusal, len(reasons) + 1)
  cell = lambda refusal: f'[{number_of(refusal)}](#reasons)' if refusal else 'runs'
  lines = [f'| method | {" | ".join(ELSEWHERE)} |', '|---' * (1 + len(ELSEWHERE)) + '|']
  for algorithm in algorithms.ALGORITHMS:
    cells = [cell(_elsewhere(algorithm, flags)) for flags in ELSEWHERE.values()]
    lines.append(f'| {algorithm} | {" | ".join(cells)} |')
  sections = [_INTRODUCTION, _ELSEWHERE_TITLE + '\n'.join(lines) + '\n']
  for algorithm in algorithms.ALGORITHMS:
    header = ' | '.join(f'`{name}`' if name else 'as they are' for name in compressors)
    lines = [
      f'## {algorithm}\n',
      f'| aggregator | privacy | {header} |',
      '|---' * (2 + len(compressors)) + '|',
    ]
    for aggregator, privacy in itertools.product(aggregation.AGGREGATORS, PRIVACIES):
      cells = []
      for compressor in compressors:
        cells.append(cell(Combination(algorithm, aggregator, compressor, privacy).refusal()))
      lines.append(f'| {aggregator} | {privacy} | {" | ".join(cells)} |')
    sections.append('\n'.join(lines) + '\n')
  listed = '\n'.join(f'{number}. {reason}' for reason, number in reasons.items())
  sections.append(f'## Reasons\n\n{listed}\n')
  return '\n'.join(sections)


_ELSEWHERE_TITLE = """## Asynchronous training, and sites that keep their data

`--aggregation_trigger=buffer` and `deadline` ([asynchronous.md](asynchronous.md)), and
`--runtime=federation` ([federation.md](federation.md)).

"""

_INTRODUCTION = """# What goes with what

Algorithm × aggregator × privacy × compressor (columns). A cell *runs*, or links to the reason for
which `experiments.train` refuses it before training. Written by
`python -m fl_research.soundness.combinations`; a test holds this page against the checks, and runs
cells.
"""


if __name__ == '__main__':
  PAGE.write_text(page())
