"""A runtime whose calls are awaited, as TFF's federated programs do."""

import asyncio
import concurrent.futures
from typing import Any

import tensorflow_federated as tff


class AwaitedContext(tff.framework.AsyncContext):
  """Calls a runtime's context from a thread, one call after the other.

  Args:
    context: the runtime's context, which `report()`s as ever.
  """

  def __init__(self, context: Any):
    self.context = context
    self._thread = concurrent.futures.ThreadPoolExecutor(1)

  async def invoke(self, comp, arg):
    """Runs `comp` on `arg`; raises what the context raises."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(self._thread, self.context.invoke, comp, arg)
