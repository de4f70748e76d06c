"""A small table of the user's own, by client, for tests of analyses of columns."""

import numpy as np
import pandas as pd

from fl_research.training import run_data
from tests.analytics import clients


def write(folder, rows=60, seed=0):
  """A table with the columns who, age, word, sick; some ages are missing. Gives its path."""
  generator = np.random.default_rng(seed)
  who = generator.choice(list('abcde'), rows, p=[0.4, 0.3, 0.15, 0.1, 0.05])
  age = generator.normal(40, 12, rows).round(1)
  age[::7] = np.nan
  word = generator.choice(['tea', 'coffee', 'water', 'wine'], rows, p=[0.5, 0.3, 0.15, 0.05])
  sick = generator.integers(0, 2, rows)
  table = pd.DataFrame({'who': who, 'age': age, 'word': word, 'sick': sick})
  table.to_csv(folder / 'people.csv', index=False)
  return folder / 'people.csv'


def setup(path, **flags):
  """What an analysis of these flags is given of a table."""
  own = {'task': 'tabular', 'data_file': str(path), 'client_column': 'who', 'label_column': 'sick'}
  chosen = clients.settings(**own, **flags)
  return clients.running.set_up(chosen, run_data.load(chosen))
