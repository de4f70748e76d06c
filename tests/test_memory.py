"""The suite's processes give back what their tests have built."""

import weakref

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import runtime
from tests import memory

VALUES = [np.float32(1), np.float32(3)]


@pytest.mark.parametrize('name', ['fused', 'native'])
def test_nothing_keeps_a_computation_that_no_test_has(name):
  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def mean(values):
    return tff.federated_mean(values)

  with runtime.use_context(name) as context:
    assert mean(VALUES) == 2
  known = weakref.ref(mean)
  del mean
  memory.forget()
  assert known() is None
  with tff.framework.get_context_stack().install(context):  # It still is of use.
    assert tff.federated_computation(lambda: tff.federated_value(3, tff.SERVER))() == 3
