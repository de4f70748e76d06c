"""Clients that see the same things differently: the same labels, pictures rendered by group.

With n renderings, the clients k with the same k mod n have their pictures rendered in the same way,
so that features differ between groups and labels do not (feature shift). Li, Jiang, Zhang, Kamp,
Dou 2021, "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", section 5,
have digits of five data sets, a client each; here those of one are made to differ. Ghosh, Chung,
Yin, Ramchandran 2020, "An Efficient Framework for Clustered Federated Learning", section 6, make
their clusters of MNIST and CIFAR by turning pictures.

Of a picture whose numbers go from l to h, and a pixel p of it:

    inverted    l + h - p
    faint       l + (p - l) / 4
    blurred     the mean of the 5 x 5 pixels around it, those beyond the border being the border's
    noisy       p + 0.3 (h - l) ε,  ε standard normal, a function of seed, client and place
    turned_90, turned_180, turned_270   the picture to the left by so many degrees
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.ndimage

from fl_research import random_streams
from fl_research.datasets.federated_data import Clients
from fl_research.datasets.groups import Grouped

_Render = Callable[[np.ndarray, np.random.Generator], np.ndarray]
_CONTRAST, _WINDOW, _NOISE = 0.25, 5, 0.3


def _ends(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The smallest and the largest number of each picture, [n, 1, 1, 1]."""
  return x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)


def _turned(quarters: int) -> _Render:
  return lambda x, rng: np.ascontiguousarray(np.rot90(x, quarters, axes=(1, 2)))


def _inverted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  low, high = _ends(x)
  return low + high - x


def _faint(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  low, _ = _ends(x)
  return low + _CONTRAST * (x - low)


def _blurred(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  return scipy.ndimage.uniform_filter(x, (1, _WINDOW, _WINDOW, 1), mode='nearest')


def _noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  low, high = _ends(x)
  return x + _NOISE * (high - low) * rng.standard_normal(x.shape, np.float32)


PLAIN, TURNED = 'plain', ('turned_90', 'turned_180', 'turned_270')
RENDERINGS: Mapping[str, _Render] = {
  PLAIN: lambda x, rng: x,
  'inverted': _inverted,
  'faint': _faint,
  'blurred': _blurred,
  'noisy': _noisy,
  **{name: _turned(number) for number, name in enumerate(TURNED, 1)},
}
"""What is made of pictures, float32 [n, height, width, channels], with draws of one client."""


def parse(text: str) -> list[str]:
  """The names in the value of `--renderings`, one for each group; none where it is empty."""
  return [name.strip() for name in text.split(',')] if text else []


def is_valid(text: str) -> bool:
  """Whether all of these are names of renderings."""
  return set(parse(text)) <= set(RENDERINGS)


def turns(count: int) -> list[str]:
  """The renderings of `--rotations`: multiples of 360 / count degrees, count of 1, 2 or 4."""
  return [PLAIN, *TURNED][:: 4 // count]


class Rendered(Grouped):
  """Clients whose pictures, x float32 [n, height, width, channels], are rendered by group.

  Args:
    clients: the clients.
    group_of: int [num_clients], the group of each.
    names: each group's rendering.
    seed: the run's seed.
    part: which of a client's examples these are, so that train and test draw by themselves.
  """

  def __init__(
    self, clients: Clients, group_of: np.ndarray, names: Sequence[str], seed: int, part: str
  ):
    super().__init__(clients, group_of)
    self._names = names
    self._draw = seed, f'rendering {part}'

  def changed(self, examples, group, position):
    rng = random_streams.generator(*self._draw, position)
    return {**examples, 'x': RENDERINGS[self._names[group]](examples['x'], rng)}
