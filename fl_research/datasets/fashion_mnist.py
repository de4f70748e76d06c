"""Fashion-MNIST: 60,000 training and 10,000 test images of ten kinds of clothing.

Xiao, Rasul, Vollgraf 2017 ("Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms"), in MNIST's format. Besides the data directory, the folder of Debian's package
`dataset-fashion-mnist` is looked in. Debian has packed the files anew: as with MNIST, what counts
is the content, packed in any way or unpacked. Pixels are grey levels over 255.
"""

import pathlib

from fl_research.datasets.federated_data import DatasetOptions, PooledData
from fl_research.datasets.idx import IdxFile, IdxSet

FASHION_MNIST = IdxSet(
  'fashion_mnist',
  'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
  IdxFile(
    'train-images-idx3-ubyte',
    '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84',
    'f4a8712d7a061bf5bd6d2ca38dc4d50a',
  ),
  IdxFile(
    'train-labels-idx1-ubyte',
    'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845',
    '9018921c3c673c538a1fc5bad174d6f9',
  ),
  IdxFile(
    't10k-images-idx3-ubyte',
    '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073',
    '8181f5470baa50b63fa0f6fddb340f0a',
  ),
  IdxFile(
    't10k-labels-idx1-ubyte',
    '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5',
    '15d484375f8d13e6eb1aabb0c3f46965',
  ),
  pathlib.Path('/usr/share/datasets/fashion-mnist'),
)


def load(options: DatasetOptions) -> PooledData:
  """Loads Fashion-MNIST; shapes, values and errors as in `IdxSet.load`."""
  return FASHION_MNIST.load(options.data_dir)
