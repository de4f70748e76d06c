"""The process of one competitor: does one round for every line it reads.

    python -m benchmarks.worker <work> <file of its data> <competitor> <configuration>

Lines in and out are JSON: {"round": 3} -> {"seconds": 0.1}, {"finish": true} -> {"loss": 2.1, …}.
The first line out, {"ready": …}, says how long the start took. When its input ends, the process
ends, and whatever it has started with it.
"""

import importlib
import json
import os
import pathlib
import signal
import sys
import time
from typing import Any, TextIO

_BEGIN = time.perf_counter()


def main(argv: list[str]) -> None:
  """Serves until the input ends."""
  work_name, path, competitor, configuration = argv
  # Others that this process starts may write to what they take for our output.
  answers = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(2, 1)
  # `works` imports our package, which makes settings that count before TensorFlow.
  from benchmarks import competitors, works

  for library in ('tensorflow', 'tensorflow_federated'):
    importlib.import_module(library)
  imported = time.perf_counter()
  job = works.Job.load(work_name, pathlib.Path(path))
  loaded = time.perf_counter()
  entry = competitors.COMPETITORS[competitor]
  program = entry.build(job, configuration)
  built = time.perf_counter()
  ready = {
    'import_seconds': imported - _BEGIN,
    'data_seconds': loaded - imported,
    'build_seconds': built - loaded,
  }
  _tell(answers, {'ready': ready})
  for line in sys.stdin:
    _tell(answers, _answer(json.loads(line), job, program))


def _answer(request: dict[str, Any], job: Any, program: Any) -> dict[str, Any]:
  if 'finish' in request:
    model = job.build_model()
    initial, final = model.initial_weights[0], program.weights()
    return {
      'initial_loss': job.loss(model, initial),
      'loss': job.loss(model, final),
      'facts': program.facts(),
    }
  program.prepare(request['round'])
  begin = time.perf_counter()
  program.round(request['round'])
  return {'seconds': time.perf_counter() - begin}


def _tell(answers: TextIO, answer: dict[str, Any]) -> None:
  answers.write(json.dumps(answer) + '\n')


if __name__ == '__main__':
  try:
    main(sys.argv[1:])
  finally:
    if os.getpgrp() == os.getpid():
      # TFF's worker process outlives its parent unless it is ended.
      sys.stderr.flush()
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
      os.killpg(0, signal.SIGTERM)
