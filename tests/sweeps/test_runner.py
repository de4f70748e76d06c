"""Jobs side by side: which cores they have, how they end."""

import json
import os
import sys

import pytest

from fl_research.sweeps import runner

CORES = sorted(os.sched_getaffinity(0))


def _jobs(folder, count):
  code = 'import os, time; time.sleep(0.3); print(sorted(os.sched_getaffinity(0)))'
  return [
    runner.Job(f'job {number}', (sys.executable, '-c', code), folder / f'{number}.log')
    for number in range(count)
  ]


def _cores_of(folder, count, parallel):
  ended = list(runner.run_jobs(_jobs(folder, count), parallel, os.environ))
  assert [one.code for one in ended] == [0] * count
  return [json.loads(one.job.log.read_text()) for one in ended]


def test_one_job_at_a_time_has_all_cores(tmp_path):
  assert _cores_of(tmp_path, 2, 1) == [CORES, CORES]


def test_a_job_without_company_has_all_cores(tmp_path):
  assert _cores_of(tmp_path, 1, 2) == [CORES]


@pytest.mark.skipif(len(CORES) < 2, reason='needs two cores')
def test_jobs_side_by_side_share_no_core(tmp_path):
  first, second = _cores_of(tmp_path, 2, 2)
  assert sorted(first + second) == CORES


@pytest.mark.skipif(len(CORES) < 2, reason='needs two cores')
def test_the_next_job_has_the_cores_that_became_free(tmp_path):
  found = _cores_of(tmp_path, 5, 2)
  assert {len(cores) for cores in found} <= {len(CORES) // 2, (len(CORES) + 1) // 2}


def test_more_jobs_than_cores_have_one_core_each(tmp_path):
  count = len(CORES) + 1
  found = _cores_of(tmp_path, count, count)
  assert {len(cores) for cores in found} == {1}
  assert {core for (core,) in found} == set(CORES)


def test_what_a_job_said_last_is_its_complaint(tmp_path):
  command = (sys.executable, '-c', 'print("first"); raise SystemExit("the reason")')
  job = runner.Job('fails', command, tmp_path / 'log')
  (ended,) = runner.run_jobs([job], 1, os.environ)
  assert ended.code == 1
  assert ended.complaint() == 'the reason'
