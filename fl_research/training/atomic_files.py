"""Files that are whole or not there, whenever the process is killed."""

import contextlib
import os
import pathlib
import uuid

TEMPORARY = '.tmp'
"""How the name of a file ends that is not whole yet."""


def write_atomically(target: pathlib.Path, content: bytes) -> None:
  """Writes a file so that it has either its old content or all of the new one.

  Several may write it at the same time; what is there in the end is one writer's content. A process
  that is killed meanwhile leaves a file of its own behind, `<name>.<hexadecimal>.tmp`.

  Raises:
    OSError: it cannot be written (disk full, …); what was there is untouched.
  """
  temporary = target.with_name(f'{target.name}.{uuid.uuid4().hex}{TEMPORARY}')
  try:
    with open(temporary, 'wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, target)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    error.filename = str(target)
    raise
  _bring_to_disk(target.parent)


def _bring_to_disk(folder: pathlib.Path) -> None:
  """Makes the names in a folder, a rename for one, outlast a loss of power."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
