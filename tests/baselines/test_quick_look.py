"""Every paper's quick look stays within its bands."""

import pathlib

import pytest

from baselines import reproduce, smoke
from fl_research.sweeps import runner
from tests import jobs

DATA = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data'
PAPERS = {folder.name: folder for folder in reproduce.papers()}


@pytest.mark.skipif(not DATA.exists(), reason='needs the original data files in ../shared/data')
@pytest.mark.parametrize('paper', PAPERS)
def test_within_its_bands(paper, capsys, monkeypatch):
  monkeypatch.setattr(runner, 'run_jobs', jobs.run_jobs)
  assert smoke.run(PAPERS[paper], str(DATA)) == 0, capsys.readouterr().out
