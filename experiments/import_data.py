"""Says what is in a user's own files, and writes them into the form that runs open fastest."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import pathlib
import sys

from absl import flags

from experiments import command_line
from fl_research import settings as settings_lib
from fl_research import tasks
from fl_research.registry import UsageError

INTRODUCTION = """
Says what is in files of your own: clients, examples, classes, missing values, how unequal the
clients are, what is done with every column and why. Everything is read once, so that a damaged
file is found here and not in a run. The form is found out: CSV and Parquet, .npz, pictures in
folders, text by author, windows of a time series, IDX, LEAF's JSON, TFF's HDF5 and SQLite.

  python -m experiments.import_data --data_file=pictures
  python -m experiments.import_data --data_file=pictures --folder_levels=class/client
  python -m experiments.import_data --data_file=pictures --write=pictures_imported
  python -m experiments.train --data_file=pictures_imported --experiment_name=first

--write puts all of it into a new folder, with checksums, in bounded memory: a run opens it at once.
Without it, experiments.train reads the files themselves. --picture=FILE draws sizes and labels by
client; with --write a picture lies beside the folder. --task names the form where it is not found.
"""

_OWN = ('task', 'seed', 'sequence_length')


def main(argv: Sequence[str]) -> int:
  names = _names()
  if command_line.wants_help(argv):
    groups = {
      'Output': [
        '  --write: a new folder to put the data into',
        '  --picture: a file for the picture, .png or .pdf',
      ],
      'Your files': command_line.changes_help(names),
    }
    command_line.print_help('python -m experiments.import_data', INTRODUCTION, groups)
    return 0
  flag_values = flags.FlagValues()
  command_line.define_changes(flag_values, names)
  flags.DEFINE_string('write', '', 'a new folder to put the data into', flag_values=flag_values)
  flags.DEFINE_string('picture', '', 'a file for the picture', flag_values=flag_values)
  command_line.parse(flag_values, argv)
  given = command_line.to_changes(flag_values, names)
  if not given.get('data_file'):
    raise UsageError('--data_file: must be given: a file or a folder; --help tells more')
  settings = settings_lib.complete(settings_lib.from_flags(given), command_line.say)
  _import(settings, flag_values['write'].value, flag_values['picture'].value)
  return 0


def _names() -> list[str]:
  """The settings that say where data of one's own are and how they are read."""
  read = [name for t in tasks.TASKS.values() for name in t.reads]
  return list(dict.fromkeys([*read, *_OWN]))


def _import(settings: settings_lib.Settings, write: str, picture: str) -> None:
  from fl_research.importing import page, sources, store, tally
  from fl_research.soundness import validation
  from fl_research.training import run_data

  validation.check_fields(settings)
  validation.check_own_data(settings)
  if write:
    store.check_free(write)
  drawn = pathlib.Path(picture or f'{write.rstrip("/")}.png') if picture or write else None
  _check_picture(drawn)
  task = tasks.get_task(settings.task)
  with _status(f'opening {settings.data_file}'):
    source = sources.open_source(task.module, task.summary, run_data.options(settings))
  page.print_rows(f'Found in {settings.data_file}', page.facts(source))
  page.print_columns(source)
  counted = tally.Tally(source)
  with _bar(int(source.counts.train.sum() + source.counts.test.sum())) as advance:

    def watch(part) -> None:
      counted.add(part)
      advance(len(part.examples['y']))

    if write:
      store.write(source, write, watch)
    else:
      tally.go_through(source, watch)
  if not source.pooled:
    page.print_rows('How unequal the clients are', page.inequality(counted.inequality()))
  page.print_notes([*source.found.notes, *tally.lonely_classes(counted, source)])
  if drawn:
    from fl_research.importing import picture as picture_lib

    picture_lib.draw(source, counted, drawn)
    print(f'picture: {drawn}')
  if write:
    print(f'written: {write}; train on it with\n  {_command(write)}')


def _command(folder: str) -> str:
  name = pathlib.Path(folder).name
  return f'python -m experiments.train --data_file={folder} --experiment_name={name}'


def _check_picture(path) -> None:
  if path is None:
    return
  if path.suffix.lower() not in ('.png', '.pdf', '.svg'):
    raise UsageError(f'--picture={path}: accepted is a name that ends in .png, .pdf or .svg')
  if path.exists() and path.is_dir():
    raise UsageError(f'--picture={path}: is a folder')


def _status(text: str) -> contextlib.AbstractContextManager:
  """Says on stderr what is being done, as long as it takes, if that is a terminal."""
  import rich.console

  if not sys.stderr.isatty():
    return contextlib.nullcontext()
  return rich.console.Console(stderr=True).status(text)


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
  """A progress bar on stderr, if that is a terminal; gives what moves it on."""
  import rich.console
  import rich.progress

  console = rich.console.Console(stderr=True)
  columns = (
    rich.progress.TextColumn('reading'),
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
  )
  hidden = not sys.stderr.isatty()
  with rich.progress.Progress(*columns, console=console, disable=hidden) as progress:
    task = progress.add_task('', total=total)
    yield lambda count: progress.update(task, advance=count)


if __name__ == '__main__':
  command_line.run_main(main)
