"""The folder of a run: what it holds, and whether a command may go on in it.

<output_dir>/<experiment_name>/
  metrics.csv  clients.csv  hparams.csv  manifest.json
  checkpoints/  logdir/  model.npz  model.keras  learning_curve.png
"""

from collections.abc import Mapping
import csv
import datetime
import importlib.metadata
import io
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training import checkpoints

_VERSIONS = ('tensorflow-federated', 'tensorflow', 'numpy', 'scikit-learn', 'pandas', 'scipy')


class RunFolder:
  """The folder of one run.

  Args:
    settings: the run's settings.
  """

  def __init__(self, settings: Settings):
    self.path = pathlib.Path(settings.output_dir) / settings.experiment_name
    self._settings = settings

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

    Changes nothing.

    Raises:
      UsageError: it holds another run (the first flag that differs is named), or is no folder, or
        cannot be written to.
    """
    existing = self.path
    while not existing.exists():
      existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
      raise UsageError(f'--output_dir={self._settings.output_dir}: {existing} cannot be written to')
    for flag, (before, now) in self._differences().items():
      raise UsageError(
        f'--{flag}={now}: the run in {self.path} was started with --{flag}={before}; give the '
        'same flags to resume it, or another --experiment_name'
      )

  def _differences(self) -> dict[str, tuple[Any, Any]]:
    """Settings that matter and differ from those of the run that is there: (before, now)."""
    before = self.manifest().get('identity')
    if before is None:
      return {}
    now = json.loads(json.dumps(self._settings.flag_values(identity_only=True)))
    return {
      flag: (before.get(flag, 'its default'), now.get(flag, 'its default'))
      for flag in {**now, **before}
      if before.get(flag) != now.get(flag)
    }

  def manifest(self) -> dict[str, Any]:
    """The manifest as it stands; empty for a new run."""
    path = self.path / 'manifest.json'
    try:
      return json.loads(path.read_text())
    except FileNotFoundError:
      return {}
    except ValueError as error:
      raise UsageError(f'{path}: is not JSON ({error}); remove it or the whole folder') from error

  def start(self, facts: Mapping[str, Any]) -> None:
    """Makes the folder, and writes hparams.csv and the manifest of a run that begins or resumes."""
    self.path.mkdir(parents=True, exist_ok=True)
    flags = self._settings.flag_values()
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(flags)
    writer.writerow('' if value is None else value for value in flags.values())
    checkpoints.write_atomically(self.path / 'hparams.csv', buffer.getvalue().encode())
    manifest = self.manifest()
    sessions = [*manifest.get('sessions', []), _session()]
    self._write(
      {
        'flags': flags,
        'identity': self._settings.flag_values(identity_only=True),
        'method_flags': dict(self._settings.method_flags),
        'versions': {name: importlib.metadata.version(name) for name in _VERSIONS},
        'machine': _machine(),
        **facts,
        'sessions': sessions,
        'finished': False,
      }
    )

  def finish(self, facts: Mapping[str, Any]) -> None:
    """Adds facts to the manifest; `finished` among them marks the run as complete."""
    self._write({**self.manifest(), **facts})

  def _write(self, manifest: Mapping[str, Any]) -> None:
    content = json.dumps(manifest, indent=2, default=str) + '\n'
    checkpoints.write_atomically(self.path / 'manifest.json', content.encode())


def _session() -> dict[str, Any]:
  return {
    'started': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'command': [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
    'commit': _commit(),
  }


def _commit() -> str:
  """The commit of the source tree, with `+` when it has changes; empty outside a repository."""
  here = pathlib.Path(__file__).parent
  git = lambda *words: subprocess.run(
    ['git', '-C', str(here), *words], capture_output=True, text=True, check=False
  )
  try:
    head = git('rev-parse', 'HEAD')
    changed = git('status', '--porcelain', '--untracked-files=no').stdout.strip()
  except OSError:
    return ''
  return head.stdout.strip() + ('+' if changed else '') if head.returncode == 0 else ''


def _machine() -> dict[str, Any]:
  return {
    'system': platform.system(),
    'processor': platform.processor() or platform.machine(),
    'cores': len(os.sched_getaffinity(0)),
    'python': platform.python_version(),
  }
