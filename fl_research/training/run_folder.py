"""The folder of a run: what it holds, and whether a command may go on in it.

<output_dir>/<experiment_name>/
  metrics.csv  clients.csv  hparams.csv  manifest.json
  checkpoints/  logdir/  model.npz  model.keras  learning_curve.png
  classes.csv  confusion.csv  confusion.png  of classes;  numbers.csv  of several numbers
  run.lock  while a process is at work in it
"""

from collections.abc import Mapping
import csv
import datetime
import importlib.metadata
import io
import json
import os
import pathlib
import sys
from typing import Any, Optional

from fl_research import random_streams, registry
from fl_research import settings as settings_lib
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training import atomic_files, folder_lock, provenance, terminal

MANIFEST = 'manifest.json'
STREAMS = 'streams'
ROUNDS = 'total_rounds'
_LONGEST_NAME = 255
_DECIDING = ('tensorflow-federated', 'tensorflow', 'numpy')
"""The packages whose versions decide the last digits of a run."""
_VERSIONS = ('tensorflow-federated', 'tensorflow', 'numpy', 'scikit-learn', 'pandas', 'scipy')


class RunFolder:
  """The folder of one run.

  Args:
    settings: the run's settings.
  """

  def __init__(self, settings: Settings):
    self.path = pathlib.Path(settings.output_dir) / settings.experiment_name
    self._settings = settings
    self._lock: Optional[folder_lock.FolderLock] = None

  @property
  def metrics(self) -> pathlib.Path:
    return self.path / 'metrics.csv'

  @property
  def clients(self) -> pathlib.Path:
    return self.path / 'clients.csv'

  @property
  def checkpoints(self) -> pathlib.Path:
    return self.path / 'checkpoints'

  @property
  def logdir(self) -> pathlib.Path:
    return self.path / 'logdir'

  def check(self) -> None:
    """Sees that the folder is new, or of a run with these settings, and can be written to.

    A run may be made longer: `--total_rounds` may be above what it was. Changes nothing.

    Raises:
      UsageError: it holds another run (the first flag that differs is named) or something else, or
        is no folder, or cannot be written to.
    """
    if len(os.fsencode(self.path.name)) > _LONGEST_NAME:
      raise UsageError(
        f'--experiment_name={self.path.name}: is longer than the {_LONGEST_NAME} bytes that the '
        'name of a folder may have'
      )
    existing = self.path.absolute()
    try:
      while not existing.exists():
        existing = existing.parent
    except OSError as error:
      raise UsageError(
        f'--output_dir={self._settings.output_dir}: {self.path} cannot be reached '
        f'({error.strerror})'
      ) from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
      raise UsageError(f'--output_dir={self._settings.output_dir}: {existing} cannot be written to')
    if self.path.exists() and not self.manifest() and _has_files(self.path):
      raise UsageError(
        f'--experiment_name={self._settings.experiment_name}: {self.path} is there already and is '
        f'not the folder of a run, as it has no {MANIFEST}'
      )
    self._check_streams()
    differences = self._differences()
    remedy = 'give the same flags to resume it, or another --experiment_name'
    if list(differences) == [ROUNDS]:
      remedy = self._why_not_longer(*differences[ROUNDS])
    for flag, (before, now) in differences.items():
      if remedy:
        raise UsageError(
          f'--{flag}={now}: the run in {self.path} was started with --{flag}={before}; {remedy}'
        )

  def _why_not_longer(self, before: int, now: int) -> str:
    """What to do as these rounds cannot follow those of the run; empty where they can.

    All that a round computes depends on its number and not on how many there are, but for noise
    that is solved for all of them, and for patience with an evaluation that was not due.
    """
    other = 'give another --experiment_name'
    if now < before:
      return f'rounds can be added, not taken away; {other}'
    if self._settings.target_epsilon is not None:
      return f'its noise was solved for so many rounds (--target_epsilon); {other}'
    if self._settings.patience and before % self._settings.rounds_per_evaluation:
      return f'--patience has counted an evaluation at its end that a longer run lacks; {other}'
    return ''

  @property
  def finished(self) -> bool:
    """Whether the run has ended, and not only before rounds that were added since."""
    manifest = self.manifest()
    rounds = manifest.get('rounds', self._settings.total_rounds)
    ended = bool(manifest.get('stopped')) or rounds >= self._settings.total_rounds
    return bool(manifest.get('finished')) and ended

  def _check_streams(self) -> None:
    manifest = self.manifest()
    streams = manifest.get(STREAMS, 1)
    if manifest and streams != random_streams.VERSION:
      raise UsageError(
        f'--experiment_name={self._settings.experiment_name}: the run in {self.path} was made by a '
        f'version of this program that draws other random numbers (streams {streams}, now '
        f'{random_streams.VERSION}); give another --experiment_name'
      )

  def _differences(self) -> dict[str, tuple[Any, Any]]:
    """Settings that matter and differ from those of the run that is there: (before, now)."""
    before = self.manifest().get('identity')
    if before is None:
      return {}
    # A run that began before a flag was there had its default.
    before = {**_identity(type(self._settings)()), **settings_lib.renewed(before)}
    now = _identity(self._settings)
    return {
      flag: (before.get(flag, 'its default'), now.get(flag, 'its default'))
      for flag in {**now, **before}
      if before.get(flag) != now.get(flag)
    }

  def manifest(self) -> dict[str, Any]:
    """The manifest as it stands; empty for a new run."""
    return read_manifest(self.path)

  def start(self, facts: Mapping[str, Any], resolved: Optional[Mapping[str, Any]] = None) -> None:
    """Makes the folder, and writes hparams.csv and the manifest of a run that begins or resumes.

    From here on no other process can start in the folder, until this one ends.

    Args:
      facts: what else the manifest should hold, `sources` and `passport` of the data among it.
      resolved: by flag, what flags that were left open amount to; hparams.csv has these values.

    Raises:
      UsageError: another process is at work in the folder, or the data have changed.
      OSError: it cannot be written to.
    """
    self.check_data(facts)
    self.path.mkdir(parents=True, exist_ok=True)
    flag = f'--experiment_name={self._settings.experiment_name}'
    self._lock = folder_lock.FolderLock(self.path, flag)
    manifest = self.manifest()
    for partial in self.path.glob('*.tmp*'):
      partial.unlink()
    flags = self._settings.flag_values()
    session = _session()
    _note_other_software(self.path, manifest, session)
    self._write(
      {
        'flags': flags,
        'identity': self._settings.identity(),
        # Named as in the manifests that there are already.
        'method_flags': dict(self._settings.hyperparameters),
        STREAMS: random_streams.VERSION,
        'versions': session['versions'],
        'machine': provenance.machine(),
        **facts,
        'sessions': [*manifest.get('sessions', []), session],
        'finished': False,
      }
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    values = {**flags, **(resolved or {})}
    writer.writerow(values)
    writer.writerow('' if value is None else value for value in values.values())
    atomic_files.write_atomically(self.path / 'hparams.csv', buffer.getvalue().encode())

  def close(self) -> None:
    """Lets other processes start in the folder; the end of this process does so too."""
    if self._lock is not None:
      self._lock.release()
      self._lock = None

  def check_data(self, facts: Mapping[str, Any]) -> None:
    """Sees that the data are those of the sessions before, where there were any.

    Args:
      facts: `sources` and `passport` of the data as they are.

    Raises:
      UsageError: they have changed; what and how.
    """
    before = self.manifest()
    for fact in ('sources', 'passport'):
      old, new = before.get(fact), json.loads(json.dumps(facts[fact]))
      if old is not None and old != new:
        changed = next(key for key in {**old, **new} if old.get(key) != new.get(key))
        flag, what = self._flag_of(changed)
        raise UsageError(
          f'--{flag}={getattr(self._settings, flag)}: not the {what} that the run in {self.path} '
          f'was started with ({changed} was {old.get(changed)}, is {new.get(changed)})'
        )

  def _flag_of(self, changed: str) -> tuple[str, str]:
    """The flag that names a source, and what that is."""
    if changed in ('model', 'initial_model'):
      return changed, 'file'
    return 'data_file' if self._settings.data_file else 'data_dir', 'data'

  def finish(self, facts: Mapping[str, Any]) -> None:
    """Adds facts to the manifest; `finished` among them marks the run as complete."""
    self._write({**self.manifest(), **facts})

  def _write(self, manifest: Mapping[str, Any]) -> None:
    content = json.dumps(manifest, indent=2, default=str) + '\n'
    atomic_files.write_atomically(self.path / MANIFEST, content.encode())


def _identity(settings: Settings) -> dict[str, Any]:
  """The settings that matter, as they are read back from a manifest."""
  return json.loads(json.dumps(settings.identity()))


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """The manifest of a run's folder; empty where there is none.

  Raises:
    UsageError: there is one, and it is not what a run writes.
  """
  path = folder / MANIFEST
  try:
    manifest = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return {}
  except (OSError, ValueError) as error:
    raise UsageError(
      f'{path}: cannot be read as JSON ({error}); remove it with its whole folder'
    ) from error
  parts = ('flags', 'identity', 'method_flags')
  if not isinstance(manifest, dict) or not all(isinstance(manifest.get(p), dict) for p in parts):
    raise UsageError(f'{path}: is not the manifest of a run; remove it with its whole folder')
  return manifest


def read_ended(path: pathlib.Path) -> dict[str, Any]:
  """The manifest of a run that has ended, or paused, and so has saved its model.

  Raises:
    UsageError: there is none in this folder.
  """
  manifest = read_manifest(path)
  if not manifest:
    beside = [each.parent.name for each in path.parent.glob(f'*/{MANIFEST}')]
    near = registry.nearest(path.name, beside)
    hint = f' (did you mean {path.parent / near}?)' if near else ''
    raise UsageError(f'--run={path}: there is no run, as there is no {MANIFEST}{hint}')
  if 'rounds' not in manifest or not (path / 'model.npz').is_file():
    why = 'it has not ended; give its command again to go on'
    if manifest.get('finished'):
      why = 'it trained none, or somebody has removed it'
    raise UsageError(f'--run={path}: has no final model, as {why}')
  return manifest


def settings_of(manifest: Mapping[str, Any], path: pathlib.Path) -> Settings:
  """The settings that a manifest holds.

  Raises:
    UsageError: they are not settings of this version of the program.
  """
  names = {field.name for field in settings_lib.fields()}
  hyperparameters = manifest['method_flags']
  unknown = set(manifest['flags']) - names - set(hyperparameters)
  unknown |= set(hyperparameters) - set(settings_lib.registry_flags())
  if unknown:
    raise UsageError(f'{path}: has the flag {min(unknown)}, which this version does not know')
  flags = settings_lib.renewed(manifest['flags'])
  given = {name: value for name, value in flags.items() if name in names}
  return Settings(**given, hyperparameters=hyperparameters)


def _has_files(folder: pathlib.Path) -> bool:
  """Whether it holds more than what a run that was killed at its start has left."""
  return any(not entry.name.startswith((MANIFEST, folder_lock.FILE)) for entry in folder.iterdir())


def _session() -> dict[str, Any]:
  return {
    'started': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'command': [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
    'commit': provenance.commit(),
    'versions': {name: importlib.metadata.version(name) for name in _VERSIONS},
  }


def _note_other_software(
  path: pathlib.Path, manifest: Mapping[str, Any], session: Mapping[str, Any]
) -> None:
  """Says so when a run resumes under other software than its session before."""
  if not manifest.get('sessions'):
    return
  before = manifest['sessions'][-1]
  # Sessions did not always have versions of their own.
  versions = before.get('versions', manifest.get('versions', {}))
  changes = [
    f'{name} {versions[name]} -> {session["versions"][name]}'
    for name in _DECIDING
    if versions.get(name, session['versions'][name]) != session['versions'][name]
  ]
  if before.get('commit') and session['commit'] and before['commit'] != session['commit']:
    changes.append(f'commit {before["commit"]} -> {session["commit"]}')
  if changes:
    terminal.note(
      f'{path}: resumes under other software ({", ".join(changes)}), so results may differ from '
      f'those of one session; {MANIFEST} keeps both'
    )
