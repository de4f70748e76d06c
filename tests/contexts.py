"""Fused runtimes that test files share, so that what one compiled serves the next."""

import contextlib
import functools

import tensorflow_federated as tff

from fl_research import runtime


@functools.cache
def _made(chunks):
  with runtime.use_context('fused', chunks=chunks) as context:
    return context


@contextlib.contextmanager
def fused(chunks):
  """The session's fused runtime of so many chunks of clients, installed; gives it."""
  context = _made(chunks)
  with tff.framework.get_context_stack().install(context):
    yield context
