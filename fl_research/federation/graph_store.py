"""The graphs of a run, kept with it: when it resumes, it asks for what was approved before."""

from collections.abc import Mapping
import pathlib
from typing import Optional

from fl_research.federation import messages
from fl_research.federation.client_graph import ClientGraph
from fl_research.registry import UsageError
from fl_research.training import atomic_files


def save(folder: pathlib.Path, graphs: Mapping[str, ClientGraph]) -> None:
  """Writes the graphs, a file each; what is there already stays."""
  if folder.exists():
    return
  folder.mkdir(parents=True)
  for purpose, graph in graphs.items():
    packed = messages.pack(graph.to_message(''))
    atomic_files.write_atomically(folder / f'{purpose}.npz', packed)


def load(folder: pathlib.Path) -> Optional[dict[str, ClientGraph]]:
  """The graphs by purpose; None where there are none.

  Raises:
    UsageError: a file is damaged.
  """
  graphs = {}
  for path in sorted(folder.glob('*.npz')):
    try:
      graphs[path.stem] = ClientGraph.from_message(messages.unpack(path.read_bytes()))
    except messages.MessageError as error:
      raise UsageError(f'{path}: is damaged; remove {folder} to ask the sites anew') from error
  return graphs or None
