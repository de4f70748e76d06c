"""A task's files as a source, for all tasks that read data of the user's own."""

import importlib

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import memory, problems
from fl_research.importing.source import Found, Source


def open_source(module: str, form: str, options: DatasetOptions) -> Source:
  """The files that `options` name, opened.

  Args:
    module: of a task: `load(options)` gives its data, and `open_source(options)`, where there is
      one, the files themselves.
    form: what they are, in a few words.
    options: how they are read.

  Raises:
    UsageError: they cannot be read; one line.
  """
  reader = importlib.import_module(module)
  if hasattr(reader, 'open_source'):
    return reader.open_source(options)
  data = reader.load(options)
  label = problems.described(data.problem, data.num_classes)
  clients = f'column {options.client_column}' if options.client_column else 'of the files'
  return memory.Loaded(data, Found(form, clients, label, classes=data.class_names))
