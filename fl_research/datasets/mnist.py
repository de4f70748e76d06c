"""MNIST: 60,000 training and 10,000 test images of handwritten digits.

LeCun, Bottou, Bengio, Haffner 1998 ("Gradient-based learning applied to document recognition").
The four IDX files may lie in the data directory packed (in any gzip packing: what counts is the
published MD5 of their content) or unpacked. The original address no longer serves them, hence the
mirror that PyTorch keeps of them.

Pixels are grey levels over 255. McMahan et al. 2017 do not say how theirs were scaled; its numbers
come out with pixels from -0.5 to 0.5 (`--task=mnist_centred`, see `baselines/mcmahan2017`). Li et
al.'s 2020 FedProx experiments standardise each pixel instead, which is left to the model.
"""

from fl_research.datasets.federated_data import DatasetOptions, PooledData
from fl_research.datasets.idx import IdxFile, IdxSet

MNIST = IdxSet(
  'mnist',
  'https://ossci-datasets.s3.amazonaws.com/mnist/',
  IdxFile(
    'train-images-idx3-ubyte',
    '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609',
    '6bbc9ace898e44ae57da46a324031adb',
  ),
  IdxFile(
    'train-labels-idx1-ubyte',
    '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c',
    'a25bea736e30d166cdddb491f175f624',
  ),
  IdxFile(
    't10k-images-idx3-ubyte',
    '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6',
    '2646ac647ad5339dbf082846283269ea',
  ),
  IdxFile(
    't10k-labels-idx1-ubyte',
    'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6',
    '27ae3e4e09519cfbb04c329615203637',
  ),
)


def load(options: DatasetOptions) -> PooledData:
  """Loads MNIST: x float32 [28, 28, 1] in [0, 1], y int32 0..9; errors as in `IdxSet.load`."""
  return MNIST.load(options.data_dir)
