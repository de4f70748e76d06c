"""Measures the claims of a paper again, and sets them beside the paper's values."""

from collections.abc import Sequence
import pathlib
import shutil

from absl import flags

from baselines import (
  claims,
  computations,
  figures,
  flag_files,
  measurement,
  protocols,
  readme,
  smoke,
  studies,
)
from baselines.claims import Claim
from baselines.studies import Study
from experiments import command_line
from fl_research.registry import UsageError
from fl_research.sweeps import runner
from fl_research.training import atomic_files

INTRODUCTION = """
Runs what a paper's claims need, and prints the paper's value, the ledger's and this run's side by
side. The runs go to --output_dir; the same command goes on where it was ended.

  python -m baselines.reproduce --paper=mcmahan2017 --tier=smoke
  python -m baselines.reproduce --paper=mcmahan2017 --claim=table1_2nn_iid_c0.1_b10
  python -m baselines.reproduce --paper=mcmahan2017 --tier=paper --write
"""
HELP = {
  'paper': 'folder of baselines/; all of them when empty',
  'claim': 'names of claims, with commas; all of the tier when empty',
  'tier': 'smoke: under a minute, against a numeric band; cpu: also claims that take minutes, '
  'on two cores about ten for all of a paper; '
  'paper: all claims',
  'output_dir': 'folder of the runs',
  'data_dir': 'folder of original data files, as for experiments.train',
  'write': 'put results, verdicts and READMEs into baselines/; before the first run of a row its '
  'protocol is registered, for which the row must be committed',
  'refresh': 'run nothing: compute verdicts and READMEs again from the committed results',
}
HERE = pathlib.Path(__file__).parent
CLAIMS = 'claims.csv'


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {'Reproduce': [f'  --{name}: {text}' for name, text in HELP.items()]}
    command_line.print_help('python -m baselines.reproduce', INTRODUCTION, groups)
    return 0
  values = _parse(argv)
  folders = _folders(values.paper)
  if values.refresh:
    for folder in folders:
      refresh(folder)
    _overview()
    return 0
  with runner.stopped_by_signals():
    if values.tier == 'smoke' and not values.claim:
      return max([smoke.run(folder, values.data_dir) for folder in folders])
    return max([_reproduce(folder, values) for folder in folders])


def _parse(argv: Sequence[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  for name in ('paper', 'claim', 'data_dir'):
    flags.DEFINE_string(name, '', HELP[name], flag_values=values)
  flags.DEFINE_string('tier', 'cpu', HELP['tier'], flag_values=values)
  flags.DEFINE_string('output_dir', 'results/baselines', HELP['output_dir'], flag_values=values)
  flags.DEFINE_bool('write', False, HELP['write'], flag_values=values)
  flags.DEFINE_bool('refresh', False, HELP['refresh'], flag_values=values)
  command_line.parse(values, argv)
  if values.tier not in claims.TIERS:
    raise UsageError(f'--tier={values.tier}: accepted are {", ".join(claims.TIERS)}')
  return values


def papers() -> list[pathlib.Path]:
  """The folders of all papers."""
  return sorted(path.parent for path in HERE.glob(f'*/{CLAIMS}'))


def _folders(paper: str) -> list[pathlib.Path]:
  known = {folder.name: folder for folder in papers()}
  if paper and paper not in known:
    raise UsageError(f'--paper={paper}: accepted are {", ".join(known)}')
  return [known[paper]] if paper else list(known.values())


def ledger(folder: pathlib.Path) -> list[Claim]:
  """The claims of a paper.

  Raises:
    UsageError: there is something wrong with them, or a registered protocol was changed.
  """
  found = claims.read_claims(folder / CLAIMS)
  protocols.check(found)
  return found


def _wanted(folder: pathlib.Path, names: str, tier: str) -> list[Claim]:
  """The claims that a command is about, without those that are not to be run."""
  found = ledger(folder)
  known = [claim.claim for claim in found]
  listed = [name.strip() for name in names.split(',') if name.strip()]
  for name in listed:
    if name not in known:
      raise UsageError(f'--claim={name}: {folder.name} has {", ".join(known)}')
  tiers = claims.TIERS[: claims.TIERS.index(tier) + 1]
  chosen = [c for c in found if (c.claim in listed if listed else c.tier in tiers)]
  for claim in chosen:
    if listed and claim.not_run:
      raise UsageError(f'--claim={claim.claim}: cannot be run: {claim.not_run}')
  return [claim for claim in chosen if not claim.not_run]


def _reproduce(folder: pathlib.Path, values: flags.FlagValues) -> int:
  """Runs and measures the wanted claims of one paper; gives the exit code."""
  wanted = _wanted(folder, values.claim, values.tier)
  output_dir = pathlib.Path(values.output_dir)
  target = folder if values.write else _copy(folder, output_dir / 'ledger' / folder.name)
  if values.write:
    _register(folder, wanted)
    wanted = _wanted(folder, values.claim, values.tier)
  for claim in wanted:
    run(target, claim, output_dir, values.data_dir)
  _export(target, wanted, output_dir)
  measured = {claim.claim: measurement.measure(target, claim) for claim in wanted}
  print(f'\n{folder.name}\n{_comparison(wanted, measured)}')
  if values.write:
    refresh(folder)
    _overview()
  return 0


def _register(folder: pathlib.Path, wanted: Sequence[Claim]) -> None:
  """Registers the protocols of the wanted claims that have none yet, before any run."""
  protocols.check_kept(folder, ledger(folder))
  new = {c.claim: protocols.register(folder, c) for c in wanted if not c.registered}
  if new:
    found = [new.get(claim.claim, claim) for claim in ledger(folder)]
    _write(folder / CLAIMS, claims.to_csv(found))


def _copy(folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  """A copy of the paper's folder, so that the committed ledger stays as it is."""
  if target.exists():
    shutil.rmtree(target)
  shutil.copytree(folder, target)
  return target


def run(folder: pathlib.Path, claim: Claim, output_dir: pathlib.Path, data_dir: str) -> None:
  """Runs what a claim needs and is not there yet."""
  if claim.computed:
    print(f'{folder.name}/{claim.claim}: {claim.study}', flush=True)
    computations.save(folder, computations.run(folder, claim))
    return
  for name in claim.arms[0]:
    study = Study(folder, name)
    axes = measurement.own_axes(study, claim)
    studies.run(study, axes, claim.seed_list, claim.select, output_dir, data_dir)


def _export(folder: pathlib.Path, wanted: Sequence[Claim], output_dir: pathlib.Path) -> None:
  """Writes the curves of the studies of some claims, with all the columns that claims read."""
  trained = [claim for claim in wanted if not claim.computed]
  for name in dict.fromkeys(name for claim in trained for name in claim.arms[0]):
    readers = [c for c in ledger(folder) if not c.computed and name in c.arms[0] and c.measure]
    columns = [column for claim in readers for column in measurement.columns(claim)]
    studies.export(Study(folder, name), output_dir, columns)


def _comparison(wanted: Sequence[Claim], measured: dict[str, Claim]) -> str:
  rows = []
  for claim in wanted:
    now = measured[claim.claim]
    interval = f'{now.ours} ({now.low} to {now.high})' if now.n_seeds else now.ours
    rows.append([claim.claim, claim.expected, claim.ours or '–', interval, now.verdict])
  return readme.table(['claim', 'paper', 'ledger', 'this run', 'verdict'], rows)


def _overview() -> None:
  """Writes the page of all papers, and its headline into the project's README."""
  ledgers = {folder: ledger(folder) for folder in papers()}
  _write(HERE / 'README.md', readme.render_all(ledgers))
  project = HERE.parent / 'README.md'
  if project.exists():
    _write(project, readme.with_headline(project.read_text(), ledgers))


def refresh(folder: pathlib.Path) -> None:
  """Makes claims, README, figures and the expectations of flag files again from the results."""
  protocols.check_kept(folder, ledger(folder))
  figures.draw(folder, ledger(folder))
  for path, text in refreshed(folder).items():
    _write(path, text)


def refreshed(folder: pathlib.Path) -> dict[pathlib.Path, str]:
  """Every generated file of a paper -> its text."""
  found = [_measured(folder, claim) for claim in ledger(folder)]
  texts = {
    folder / CLAIMS: claims.to_csv(found),
    folder / 'README.md': readme.render(folder, found),
  }
  trained = [claim for claim in found if not claim.computed]
  for name in dict.fromkeys(name for claim in trained for name in claim.arms[0]):
    study = Study(folder, name)
    texts[study.flag_file] = flag_files.updated(study, trained)
  return texts


def _measured(folder: pathlib.Path, claim: Claim) -> Claim:
  """The claim as far as there are results."""
  try:
    return measurement.measure(folder, claim)
  except UsageError:
    return claim


def _write(path: pathlib.Path, text: str) -> None:
  if not path.exists() or path.read_text() != text:
    atomic_files.write_atomically(path, text.encode())


if __name__ == '__main__':
  command_line.run_main(main)
