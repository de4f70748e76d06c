"""Files that are whole or not there, whenever the process is killed."""

from collections.abc import Callable
import contextlib
import os
import pathlib
from typing import BinaryIO, Optional
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
  stream_atomically(target, lambda file: file.write(content))


def stream_atomically(
  target: pathlib.Path,
  write: Callable[[BinaryIO], object],
  name: Optional[Callable[[pathlib.Path], str]] = None,
) -> pathlib.Path:
  """As `write_atomically`, of content that need not be in memory.

  Args:
    target: the file.
    write: writes the content into the open file that it is given.
    name: from the file that has been written to the name that it gets; the target's when None.

  Returns:
    The file.
  """
  temporary = target.with_name(f'{target.name}.{uuid.uuid4().hex}{TEMPORARY}')
  try:
    with open(temporary, 'wb') as file:
      write(file)
    named = target.with_name(name(temporary)) if name else target
    rename(temporary, named)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    error.filename = str(target)
    raise
  return named


def rename(temporary: pathlib.Path, target: pathlib.Path) -> None:
  """Gives a whole file its name, in the place of what had it, so that it outlasts a loss of power.

  Raises:
    OSError: it cannot be brought to the disk; what was there is untouched.
  """
  _bring_to_disk(temporary)
  os.replace(temporary, target)
  _bring_to_disk(target.parent)


def _bring_to_disk(path: pathlib.Path) -> None:
  """Makes the content of a file, or the names in a folder, outlast a loss of power."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
