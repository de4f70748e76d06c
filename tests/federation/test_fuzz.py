"""What is malformed ends nothing but its own connection, and leaves nothing behind."""

from tests import fuzz_federation


def test_malformed_messages(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  said: list[str] = []
  fuzz_federation.fuzz(500, 1, tmp_path.relative_to(tmp_path), said.append)
  assert len(said) == 4
