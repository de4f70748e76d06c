"""Options of the test suite."""

import signal

# A shell starts background jobs deaf to Ctrl-C, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
  parser.addoption(
    '--all-combinations',
    action='store_true',
    help='run every cell of docs/combinations.md (half an hour), not only a covering set',
  )
