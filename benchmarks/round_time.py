"""Seconds per round of this library, of TFF's own processes and of a plain TensorFlow loop."""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from absl import flags
import rich.console
import rich.table

from benchmarks import competitors, machine, processes, works
from experiments import command_line
from fl_research import aggregation, algorithms, registry

INTRODUCTION = """
Times federated rounds of this library on its fused and on TFF's own runtime, of
tff.learning.algorithms.build_weighted_fed_avg (as the tutorials build it, that same process on the
fused runtime, and the fastest of its configurations) and of a plain TensorFlow loop, and checks
that all end at the same loss.

Every program runs in a process of its own, and their rounds take turns. Each program's figure is
the median over its rounds, the smallest over the repetitions.

  python -m benchmarks.round_time --work=W1
  python -m benchmarks.round_time --work=W1,W3 --rounds=20 --json
"""

RESULTS = processes.ROOT / 'benchmarks' / 'results'
"""Where `--save` puts what was measured."""

TOLERANCE = 1e-3
"""How far the final losses may lie apart, relative to the first program's."""

TOLERANCE_OF_FALL = 0.05
"""How far they may lie apart, relative to how much training has lowered the loss."""

SECONDS = 45.0
"""After how long no further round is timed, if there are three: for the slow works."""

WARM_UP = 2
"""Rounds before those that are timed: the first compiles, the second may still settle buffers."""

_GROUPS = {
  'all': [name for name in works.WORKS if name != 'tiny'],
  'W6': [name for name in works.WORKS if name.startswith('W6')],
}
_NAMES = ('fused', 'native', 'tff_learning', 'tff_tutorial', 'tff_fused', 'plain_loop')


def _note(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


@dataclasses.dataclass
class Measured:
  """What one competitor's process did.

  Attributes:
    configuration: how it was run.
    seconds: of every timed round.
    all_cpu_seconds: how long each of them kept processors busy, all processes of the program
      together: less disturbed by what else runs on the machine.
    first_call_seconds: the first round, from the call.
    first_round_seconds: the first round, from the start of the process.
    start: seconds the start took, by part.
    peak_bytes: peak memory of its processes.
    initial_loss, loss: before and after training.
    facts: what it says about itself.
  """

  configuration: str
  seconds: list[float] = dataclasses.field(default_factory=list)
  all_cpu_seconds: list[float] = dataclasses.field(default_factory=list)
  first_call_seconds: float = 0.0
  first_round_seconds: float = 0.0
  start: dict[str, float] = dataclasses.field(default_factory=dict)
  peak_bytes: int = 0
  initial_loss: float = float('nan')
  loss: float = float('nan')
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def median(self) -> float:
    """Seconds per round."""
    return statistics.median(self.seconds)

  @property
  def cpu_seconds(self) -> float:
    """Processor seconds per round: a mean, for the system counts in hundredths."""
    return statistics.mean(self.all_cpu_seconds)


class Runner:
  """Runs the competitors of one work.

  Args:
    name: the work's name.
    path: the file of its data.
  """

  def __init__(self, name: str, path: pathlib.Path):
    self._name = name
    self._path = path

  def fastest_configuration(self, competitor: str) -> tuple[str, dict[str, float]]:
    """The fastest configuration, and seconds of the second round of each; none if only one."""
    names = list(competitors.COMPETITORS[competitor].configurations)
    if len(names) == 1:
      return names[0], {}
    seconds = {}
    for configuration in names:
      with self._start(competitor, configuration) as process:
        process.answer()
        process.ask({'round': 1})
        seconds[configuration] = process.ask({'round': 2})['seconds']
      _note(f'  {competitor}, {configuration}: {seconds[configuration]:.3f} s')
    return min(names, key=lambda name: seconds[name]), seconds

  def run(self, configurations: Mapping[str, str], rounds: int) -> dict[str, Measured]:
    """Times so many rounds of each competitor, taking turns; fewer where `SECONDS` are over."""
    measured = {name: Measured(configurations[name]) for name in configurations}
    with contextlib.ExitStack() as stack:
      running = {}
      for name, result in measured.items():
        running[name] = stack.enter_context(self._start(name, configurations[name]))
        self._first_round(running[name], result)
      for round_num in range(2, WARM_UP + 1):
        for process in running.values():
          process.ask({'round': round_num})
      begin = time.monotonic()
      for timed in range(rounds):
        if timed >= 3 and time.monotonic() - begin > SECONDS:
          break
        for name, process in running.items():
          before = process.cpu_seconds()
          answer = process.ask({'round': WARM_UP + 1 + timed})
          measured[name].seconds.append(answer['seconds'])
          measured[name].all_cpu_seconds.append(process.cpu_seconds() - before)
      for name, process in running.items():
        answer = process.ask({'finish': True})
        result = measured[name]
        result.initial_loss, result.loss = answer['initial_loss'], answer['loss']
        result.facts, result.peak_bytes = answer['facts'], process.peak_bytes
    return measured

  def _start(self, competitor: str, configuration: str) -> processes.Process:
    arguments = (self._name, str(self._path), competitor, configuration)
    return processes.Process('benchmarks.worker', *arguments)

  def _first_round(self, process: processes.Process, result: Measured) -> None:
    result.start = process.answer()['ready']
    result.start['until_ready_seconds'] = time.monotonic() - process.started
    called = time.monotonic()
    process.ask({'round': 1})
    result.first_call_seconds = time.monotonic() - called
    result.first_round_seconds = time.monotonic() - process.started


def measure(
  name: str, names: Iterable[str], rounds: int, repetitions: int, given: Mapping[str, str]
) -> dict[str, Any]:
  """Measures one work.

  Args:
    name: the work.
    names: the competitors.
    rounds: timed rounds of each repetition.
    repetitions: how often everything is started anew.
    given: configurations to run instead of the fastest, by competitor.

  Returns:
    What `--json` prints.
  """
  work = works.WORKS[name]
  _note(f'{name}: {work.summary}')
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'data.npz'
    works.save(work, path)
    runner = Runner(name, path)
    trials: dict[str, dict[str, float]] = {}
    configurations = dict(given)
    for competitor in names:
      if competitor not in configurations:
        configurations[competitor], trials[competitor] = runner.fastest_configuration(competitor)
    chosen = {competitor: configurations[competitor] for competitor in names}
    runs = [runner.run(chosen, rounds) for _ in range(repetitions)]
  return _summary(name, chosen, trials, runs)


def _summary(
  name: str,
  configurations: Mapping[str, str],
  trials: Mapping[str, Mapping[str, float]],
  runs: Sequence[Mapping[str, Measured]],
) -> dict[str, Any]:
  names = list(configurations)
  of_all = lambda attribute, reduce: {
    n: reduce(getattr(run[n], attribute) for run in runs) for n in names
  }
  seconds = of_all('median', min)
  losses = of_all('loss', list)
  initial_loss = runs[-1][names[0]].initial_loss
  return {
    'work': name,
    'summary': works.WORKS[name].summary,
    'seconds_per_round': seconds,
    'cpu_seconds_per_round': of_all('cpu_seconds', min),
    'times_fused': {n: seconds[n] / seconds['fused'] for n in names if 'fused' in seconds},
    'final_loss': {n: values[-1] for n, values in losses.items()},
    'initial_loss': initial_loss,
    'losses_agree': all(_agree([run[n].loss for n in names], initial_loss) for run in runs),
    'rounds': len(runs[0][names[0]].seconds),
    'repetitions': len(runs),
    'all_seconds': of_all('seconds', list),
    'first_round_seconds': of_all('first_round_seconds', min),
    'first_call_seconds': of_all('first_call_seconds', min),
    'start_seconds': {n: runs[-1][n].start for n in names},
    'peak_mib': {n: round(peak / 2**20) for n, peak in of_all('peak_bytes', max).items()},
    'configuration': dict(configurations),
    'configurations_tried': {n: dict(times) for n, times in trials.items() if times},
    'facts': {n: runs[-1][n].facts for n in names},
  }


def _agree(losses: Sequence[float], initial: float) -> bool:
  difference = max(losses) - min(losses)
  fall = abs(initial - losses[0])
  return difference <= TOLERANCE * abs(losses[0]) and difference <= TOLERANCE_OF_FALL * fall


def print_table(results: Sequence[Mapping[str, Any]], file: Any) -> None:
  """Prints the results for people."""
  table = rich.table.Table(title='Seconds per round, and how often the fused time that is')
  columns = ('work', 'program', 's/round', '× fused', 'CPU s', 'first round', 'first call', 'start')
  for column in (*columns, 'peak MiB', 'final loss'):
    table.add_column(column, justify='left' if column in ('work', 'program') else 'right')
  for result in results:
    for name, seconds in result['seconds_per_round'].items():
      table.add_row(
        result['work'] if name == next(iter(result['seconds_per_round'])) else '',
        _label(name, result['configuration'][name]),
        f'{seconds:.4f}',
        f'{result["times_fused"][name]:.2f}' if result['times_fused'] else '',
        f'{result["cpu_seconds_per_round"][name]:.3f}',
        f'{result["first_round_seconds"][name]:.1f}',
        f'{result["first_call_seconds"][name]:.1f}',
        f'{result["start_seconds"][name]["until_ready_seconds"]:.1f}',
        f'{result["peak_mib"][name]:,}',
        f'{result["final_loss"][name]:.6f}',
      )
    table.add_section()
  rich.console.Console(file=file, width=None if file.isatty() else 130).print(table)


def _label(name: str, configuration: str) -> str:
  return name if configuration == 'default' else f'{name} ({configuration})'


def save(results: Sequence[Mapping[str, Any]], described: Mapping[str, Any]) -> pathlib.Path:
  """Writes the results and the machine's description to `RESULTS`."""
  RESULTS.mkdir(exist_ok=True)
  path = RESULTS / 'round_time.json'
  path.write_text(json.dumps({'machine': described, 'works': results}, indent=1) + '\n')
  with open(RESULTS / 'round_time.txt', 'w', encoding='utf-8') as file:
    for key, value in described.items():
      file.write(f'{key}: {value}\n')
    print_table(results, file)
  return path


def _works(given: Sequence[str]) -> list[str]:
  """The works that flags name, each once."""
  names = [name for text in given for name in text.split(',')]
  known = {**{name: [name] for name in works.WORKS}, **_GROUPS}
  return list(dict.fromkeys(one for name in names for one in registry.lookup('work', name, known)))


def _competitors(given: Sequence[str]) -> list[str]:
  names = [name for text in given for name in text.split(',')]
  for name in names:
    registry.lookup('competitor', name, competitors.COMPETITORS)
  return [name for name in _NAMES if name in names]


def _given(flag: str, name: str, competitor: str) -> dict[str, str]:
  """The configuration that a flag names, by competitor; none where it says `fastest`."""
  if name == 'fastest':
    return {}
  configurations = competitors.COMPETITORS[competitor].configurations
  registry.lookup(flag, name, {**configurations, 'fastest': None})
  return {competitor: name}


def _missing(name: str) -> str:
  """What a work needs and this version does not have; empty when nothing is missing."""
  work = works.WORKS[name]
  if work.algorithm not in algorithms.ALGORITHMS:
    return f'there is no algorithm {work.algorithm}'
  if work.aggregator not in aggregation.AGGREGATORS:
    return f'there is no aggregator {work.aggregator}'
  return ''


def _define(values: flags.FlagValues) -> dict[str, list[str]]:
  """Defines the flags; gives their lines for `--help`."""
  own: dict[str, Any] = {'flag_values': values}
  flags.DEFINE_multi_string('work', ['all'], 'which, repeatable or with commas', **own)
  flags.DEFINE_multi_string('competitor', list(_NAMES), 'which programs', **own)
  flags.DEFINE_integer('rounds', 10, 'timed rounds of each program', 1, **own)
  flags.DEFINE_integer('repetitions', 1, 'how often all is started anew', 1, **own)
  flags.DEFINE_string('tff_configuration', 'fastest', 'how tff_learning is run', **own)
  flags.DEFINE_string('plain_configuration', 'fastest', 'how plain_loop is run', **own)
  flags.DEFINE_bool('json', False, 'one JSON object per work on stdout, nothing else', **own)
  flags.DEFINE_bool('save', False, 'write the results to benchmarks/results', **own)
  return {
    'Flags': flag_lines(values),
    'Works': [f'  {name}: {work.summary}' for name, work in works.WORKS.items()],
    'Configurations of tff_learning and plain_loop, the fastest of a short trial unless named': [
      f'  {name}' for c in ('tff_learning', 'plain_loop') for name in _configurations(c)
    ],
  }


def flag_lines(values: flags.FlagValues) -> list[str]:
  """A line of help for each flag."""
  lines = []
  for name in values:
    flag = values[name]
    default = ','.join(flag.default) if isinstance(flag.default, list) else flag.default
    text = flag.help.splitlines()[0].rstrip(';')
    lines.append(f'  --{name} [{default}]: {text}')
  return lines


def _configurations(competitor: str) -> list[str]:
  return list(competitors.COMPETITORS[competitor].configurations)


def main(argv: Sequence[str]) -> int:
  values = flags.FlagValues()
  lines = _define(values)
  if command_line.wants_help(argv):
    command_line.print_help('python -m benchmarks.round_time', INTRODUCTION, lines)
    return 0
  command_line.parse(values, argv)
  names, wanted = _works(values.work), _competitors(values.competitor)
  given = {
    **_given('tff_configuration', values.tff_configuration, 'tff_learning'),
    **_given('plain_configuration', values.plain_configuration, 'plain_loop'),
  }
  described = machine.describe()
  results = []
  for name in names:
    if missing := _missing(name):
      _note(f'{name}: left out, {missing}')
      continue
    own = [c for c in wanted if c == 'fused' or c in works.WORKS[name].against]
    try:
      results.append(measure(name, own, values.rounds, values.repetitions, given))
    except processes.ProcessError as error:
      _note(f'round_time: {error}')
      return 1
    if values.json:
      print(json.dumps({**results[-1], 'machine': described}), flush=True)
    else:
      print_table(results[-1:], sys.stdout)
  if values.save:
    _note(f'written to {save(results, described).relative_to(processes.ROOT)}')
  return _verdict(results)


def _verdict(results: Sequence[Mapping[str, Any]]) -> int:
  """The exit code: 1 when the programs of any work did not do the same."""
  apart = [result for result in results if not result['losses_agree']]
  for result in apart:
    _note(f'{result["work"]}: the final losses differ: {result["final_loss"]}')
  return 1 if apart else 0


if __name__ == '__main__':
  command_line.run_main(main)
