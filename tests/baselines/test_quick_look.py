"""Every paper's quick look stays within its bands."""

import contextlib
import io
import pathlib

import pytest

from baselines import reproduce, smoke
from fl_research.sweeps import runner
from tests import forked, jobs

DATA = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data'
PAPERS = {folder.name: folder for folder in reproduce.papers()}


def _check(folder):
  runner.run_jobs = jobs.run_jobs
  with contextlib.redirect_stdout(io.StringIO()) as said:
    code = smoke.run(folder, str(DATA))
  assert code == 0, said.getvalue()


@pytest.mark.skipif(not DATA.exists(), reason='needs the original data files in ../shared/data')
@pytest.mark.parametrize('paper', PAPERS)
def test_within_its_bands(paper):
  # Elsewhere: they take a quarter of what a process of the suite may have.
  forked.check(_check, PAPERS[paper])
