"""What is learnt from whose data."""

import dataclasses
from typing import Optional

from fl_research import domains, models, tasks
from fl_research.datasets import partition as partition_lib
from fl_research.datasets import rendered
from fl_research.models import initializers
from fl_research.settings import section

_setting = section.settings_of('Data')

NATURAL = 'natural'
"""`--partition=natural`: the data say whose an example is."""


@dataclasses.dataclass(frozen=True)
class Data:
  """Settings of the data and their clients."""

  task: str = _setting('', 'what to learn', choices=lambda: tasks.TASKS)
  model: str = _setting(
    '',
    "the model; the task's own when empty; or one of your own: my_models.py:build, a function of "
    'the ModelSpec that returns a Keras model or a FunctionalModel, or a saved .keras file '
    '(docs/own_model.md)',
    choices=lambda: models.MODELS,
    besides=models.is_own,
  )
  initial_model: str = _setting(
    '',
    "start from the weights in this file: a run's model.npz or model.keras, or any Keras file with "
    'weights of the same names, or of the same shapes in the same order',
  )
  freeze: str = _setting(
    '',
    'layers that stay as they begin, by name, separated by commas, * for any characters; their '
    'weights are part of the program, neither trained nor sent nor counted',
  )
  lora_rank: int = _setting(
    0,
    'train low-rank adapters of this rank beside the model, which itself stays as it begins; bytes '
    'count adapters alone (fl_research/models/lora.py); 0 for none',
    **domains.COUNT_OR_0,
  )
  lora_alpha: Optional[float] = _setting(
    None,
    'adapters: alpha, their product counts alpha / rank; the rank when empty',
    optional=float,
    **domains.POSITIVE,
  )
  lora_layers: str = _setting(
    '',
    'adapters: layers that have some, by name, separated by commas, * for any characters; all with '
    'a matrix when empty',
  )
  lora_freeze_a: bool = _setting(
    False, 'adapters: keep the first factor as it was drawn (FFA-LoRA, Sun et al. 2024)'
  )
  initializer: str = _setting(
    '',
    "how the model's kernels are drawn: by Keras' names, or fan_in_uniform (U(-1/sqrt(fan_in), "
    "1/sqrt(fan_in)), biases too), PyTorch's default; the model's own way when empty",
    choices=lambda: initializers.INITIALIZERS,
  )
  data_dir: str = _setting(
    '',
    'folder of original data files; else $FL_RESEARCH_DATA_DIR, else the cache folder',
    identity=False,
  )
  data_file: str = _setting(
    '',
    'your own data: a file or folder, whose form is found out where --task is empty '
    '(docs/own_data.md; experiments.import_data says what is in it)',
  )
  client_column: str = _setting(
    '', 'your own data: the column that says whose a row is; the files do when empty'
  )
  label_column: str = _setting(
    '',
    'your own data: the column to predict, or several with commas; when empty one that is named '
    'so: label, target, y, class, outcome',
  )
  sequence_length: Optional[int] = _setting(
    None,
    "text: characters or words per example (default: the data set's usual 80, or 20)",
    optional=int,
    **domains.COUNT,
  )
  synthetic_alpha: float = _setting(
    0.0, 'synthetic: how much models differ between clients', **domains.FROM_0
  )
  synthetic_beta: float = _setting(
    0.0, 'synthetic: how much inputs differ between clients', **domains.FROM_0
  )
  partition: str = _setting(
    '',
    'who owns which example: natural where the data say so, else a scheme; empty: natural or iid',
    choices=lambda: [NATURAL, *partition_lib.SCHEMES],
  )
  num_clients: Optional[int] = _setting(
    None,
    'clients to deal the data to (default 100; synthetic data: 30)',
    optional=int,
    **domains.COUNT,
  )
  held_out_clients_fraction: float = _setting(
    0.0,
    'share of the clients that never train and are evaluated as held_out/...',
    **domains.BELOW_1,
  )
  own_test_fraction: float = _setting(
    0.0,
    "share of each training client's examples, the last ones of each label, that it is tested on "
    "in place of the data set's test examples; personal models need it where those are of other "
    'people',
    **domains.BELOW_1,
  )
  server_examples: int = _setting(
    0,
    "so many examples, drawn from the training clients', that the server has as well, for an "
    '--aggregator that compares with them, or an --algorithm whose models answer for them',
    **domains.COUNT_OR_0,
  )
  rotations: int = _setting(
    1,
    'so many groups of clients, each with its pictures turned by another multiple of 360 degrees '
    'over that number; 1: all see them as they are',
    valid=lambda v: v in (1, 2, 4),
    domain='1, 2 or 4',
  )
  renderings: str = _setting(
    '',
    'how groups of clients see their pictures, a rendering for each group, such as '
    'plain,inverted,faint,blurred,noisy; empty: all see them as they are',
    valid=rendered.is_valid,
    domain=f'names with commas, of {", ".join(rendered.RENDERINGS)}',
  )
  label_namings: int = _setting(
    1,
    'so many groups of clients, each with a permutation of the labels of its own; 1: all name them '
    'as the data set does',
    **domains.COUNT,
  )
