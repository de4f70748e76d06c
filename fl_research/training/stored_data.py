"""What a run keeps of its data for whoever uses its model: `preprocessing.json`.

{"spec": …, "class_names": […], "preprocessing": …}: what the model takes and answers
(`ModelSpec.to_data`), what its classes are called, and what was done to the values of the user's
own files on their way to x (`fl_research.importing`). All of it is JSON; nothing is ever unpickled.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.training import atomic_files
from fl_research.training.run_data import RunData

FILE = 'preprocessing.json'


@dataclasses.dataclass(frozen=True)
class StoredData:
  """What was kept.

  Attributes:
    spec: what the model takes and answers.
    class_names: names of its classes or tags; empty without names.
    preprocessing: what makes x of the user's own files; {} where they hold x.
  """

  spec: ModelSpec
  class_names: tuple[str, ...]
  preprocessing: Mapping[str, Any]


def save(folder: pathlib.Path, data: RunData) -> None:
  """Writes the file into a run's folder."""
  content = {
    'spec': data.spec.to_data(),
    'class_names': list(data.class_names),
    'preprocessing': data.preprocessing,
  }
  text = json.dumps(content, indent=1, default=_as_list) + '\n'
  atomic_files.write_atomically(folder / FILE, text.encode())


def load(folder: pathlib.Path) -> StoredData:
  """Reads the file.

  Raises:
    UsageError: it is not there, or not what `save` writes.
  """
  path = folder / FILE
  try:
    content = json.loads(path.read_text())
    spec = ModelSpec.from_stored(content['spec'])
    return StoredData(spec, tuple(content['class_names']), content['preprocessing'])
  except FileNotFoundError as error:
    raise UsageError(
      f'--run={folder}: has no {FILE}, as it was made by an older version of this program; '
      'train it anew'
    ) from error
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UsageError(f'{path}: is damaged ({type(error).__name__}: {error})') from error


def _as_list(value: Any) -> Any:
  if isinstance(value, (np.ndarray, np.generic)):
    return value.tolist()
  raise TypeError(f'{type(value).__name__} is not for JSON')
