"""SHA-256 of what runs leave behind, to show that a change of structure moved no number.

    python -m tests.run_digests --out=before.csv       (some forty minutes; less with --only=…)
    … change …
    python -m tests.run_digests --out=after.csv --against=before.csv

Every method is run for five rounds, on the embedded digits and on a task of sequences, with each of
`VARIANTS` that the checks accept. A row holds the digests of model.npz (its arrays), of metrics.csv
without `seconds`, and of clients.csv. They are comparable on one machine only.
"""

import argparse
import contextlib
import hashlib
import io
import pathlib
import sys
import tempfile

import numpy as np
import pandas as pd

from experiments import train
from fl_research import algorithms
from fl_research.registry import UsageError

VARIANTS = {
  'mean': [],
  'trimmed_mean': ['--aggregator=trimmed_mean'],
  'rotation,quantize': ['--compressor=rotation,quantize:2'],
  'top_k': ['--compressor=top_k:0.1'],
  'low_rank': ['--compressor=low_rank:0.25'],
  'dp': ['--dp_noise_multiplier=0.1', '--dp_clip_norm=1'],
  'secure': ['--secure_aggregation=clear'],
  'norm_bounding': ['--aggregator=norm_bounding', '--norm_bounding_quantile=0.5'],
  'alie': ['--attack=alie', '--attacker_fraction=0.3'],
}
"""What goes around a method, as flags."""

_COMMON = [
  '--total_rounds=5', '--clients_per_round=4', '--client_epochs_per_round=2', '--clients_csv',
  '--client_chunks=2', '--tensorboard=false', '--seed=3',
]  # fmt: skip
_TASKS = {
  'digits': [
    '--task=digits', '--model=mlp', '--mlp_hidden_units=16', '--num_clients=10',
    '--partition=dirichlet', '--max_examples_per_client=30',
  ],
  'tokens': [
    '--task=npz', '--model=char_lstm', '--char_lstm_units=8', '--char_lstm_layers=1',
    '--client_batch_size=4', '--rounds_per_evaluation=5',
  ],
}  # fmt: skip
_ON_TOKENS = ('mean', 'trimmed_mean', 'rotation,quantize', 'dp')


def _write_tokens(folder: pathlib.Path) -> None:
  """Ten clients with a few sequences each."""
  for client in range(10):
    generator = np.random.default_rng(client)
    tokens = generator.integers(1, 12, (5 + client, 9)).astype(np.int32)
    np.savez(folder / f'client_{client}.npz', x=tokens[:, :-1], y=tokens[:, 1:])


def _digest(*contents: bytes) -> str:
  return hashlib.sha256(b''.join(contents)).hexdigest()[:16]


def digests(folder: pathlib.Path) -> dict[str, str]:
  """The digests of a finished run."""
  arrays = np.load(folder / 'model.npz', allow_pickle=False)
  metrics = pd.read_csv(folder / 'metrics.csv', dtype=str).drop(columns='seconds')
  return {
    'model': _digest(*(name.encode() + arrays[name].tobytes() for name in arrays.files)),
    'metrics': _digest(metrics.to_csv(index=False).encode()),
    'clients': _digest((folder / 'clients.csv').read_bytes()),
  }


def _run(name: str, flags: list[str], results: pathlib.Path) -> dict[str, str]:
  argv = ['train', *_COMMON, *flags, f'--output_dir={results}', f'--experiment_name={name}']
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      train.main(argv)
  except UsageError:
    return {}
  return digests(results / name)


def table(results: pathlib.Path, only: str = '') -> pd.DataFrame:
  """One row for each run that the checks accept."""
  tokens = results / 'tokens'
  tokens.mkdir()
  _write_tokens(tokens)
  rows = []
  for task, task_flags in _TASKS.items():
    if task == 'tokens':
      task_flags = [*task_flags, f'--data_file={tokens}']
    for algorithm in algorithms.ALGORITHMS:
      for variant, variant_flags in VARIANTS.items():
        name = f'{task} {algorithm} {variant}'
        if only not in name or (task == 'tokens' and variant not in _ON_TOKENS):
          continue
        found = _run(name, [*task_flags, f'--algorithm={algorithm}', *variant_flags], results)
        if found:
          rows.append({'run': name, **found})
          print(*rows[-1].values(), file=sys.stderr, flush=True)
  return pd.DataFrame(rows).set_index('run')


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--against', type=pathlib.Path)
  parser.add_argument('--only', default='', help='runs whose name has this in it')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    found = table(pathlib.Path(folder), options.only)
  found.to_csv(options.out)
  if not options.against:
    return 0
  before = pd.read_csv(options.against, index_col='run')
  before = before[before.index.str.contains(options.only, regex=False)]
  common = before.index.intersection(found.index)
  moved = (before.loc[common] != found.loc[common, before.columns]).any(axis=1)
  gone, new = before.index.difference(found.index), found.index.difference(before.index)
  print(f'{len(common)} runs in both, {moved.sum()} moved; {len(gone)} gone, {len(new)} new')
  for name in [*common[moved], *gone]:
    print(f'  {name}')
  return int(moved.any() or len(gone) > 0)


if __name__ == '__main__':
  sys.exit(main())
