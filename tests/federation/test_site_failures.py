"""What a site says when the work fails: nothing that was computed from its data."""

import pytest

from fl_research.federation import messages
from fl_research.federation.messages import Message
from fl_research.federation.site import Site
from fl_research.runtime import errors
from tests.federation import in_process


@pytest.mark.parametrize('kind', [errors.ComputationError, ValueError])
def test_the_reason_stays_with_the_owner(kind, tmp_path, caplog):
  guard = in_process.Anything()
  site = Site('north', None, guard, tmp_path)

  def fails(_):
    raise kind('assertion failed: [63 1 145 233]')

  site._answers = {'hello': fails}
  reply = site.handle(messages.pack(Message('hello', {'protocol': messages.PROTOCOL})))
  assert messages.unpack(reply).kind == 'refused'
  assert b'145' not in reply
  assert '[63 1 145 233]' in caplog.text
  assert guard.left == []
