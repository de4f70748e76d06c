"""Options of the test suite."""


def pytest_addoption(parser):
  parser.addoption(
    '--all-combinations',
    action='store_true',
    help='run every cell of docs/combinations.md (half an hour), not only a covering set',
  )
