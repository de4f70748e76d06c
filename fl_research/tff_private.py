"""The names of TFF that are not under its public `tff.*`: this file alone imports them.

A newer TFF may move or drop them; this is then the one place to change.
"""

from tensorflow_federated.python.core.impl.utils import tensorflow_utils

__all__ = ['dataset_from_elements']


def dataset_from_elements(elements, element_type):
  """A list of a sequence's elements as a `tf.data.Dataset`, as TFF's own runtime reads it.

  Args:
    elements: list of Python structures of arrays.
    element_type: `tff.Type` of one element.
  """
  return tensorflow_utils.make_data_set_from_elements(None, elements, element_type)
