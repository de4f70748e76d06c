"""Which runs share a process, and which graphs."""

import pytest

from fl_research.sweeps import planning


def _jobs(folder, given, *cells):
  measure = planning.usual_measure([{}], {'total_rounds': 3})
  given = {'task': 'digits', 'total_rounds': 3, **given}
  runs = planning.plan(cells, given, folder, 'experiments.train', measure, False)
  return [run.job(folder / 'log') for run in runs]


@pytest.mark.parametrize(
  'one, other, shared',
  [
    ({'seed': '1'}, {'seed': '2'}, True),
    ({'algorithm': 'fedavg'}, {'algorithm': 'scaffold'}, True),
    ({'clients_per_round': '4'}, {'clients_per_round': '10'}, True),
    ({'clients_per_round': '2'}, {'clients_per_round': '10'}, False),
    ({'clients_per_round': '1'}, {'centralized': 'true'}, True),
    ({'clients_per_round': '10'}, {'centralized': 'true'}, False),
    ({'runtime': 'auto'}, {'runtime': 'fused'}, True),
    ({'runtime': 'native'}, {'runtime': 'fused'}, False),
  ],
)
def test_runs_share_a_process_whose_kernels_have_as_many_threads(tmp_path, one, other, shared):
  first, second = _jobs(tmp_path, {}, one, other)
  assert (first.process == second.process) == shared


def test_code_of_ones_own_shares_no_process(tmp_path):
  model = tmp_path / 'mine.py'
  model.write_text('')
  jobs = _jobs(tmp_path, {'model': f'{model}:build'}, {'seed': '1'}, {'seed': '2'})
  assert len({job.process for job in jobs}) == 2


def test_runs_that_differ_in_their_seeds_share_graphs(tmp_path):
  rates = [{'client_learning_rate': rate, 'seed': seed} for rate in ('0.1', '1') for seed in '12']
  first, second, third, fourth = (job.graphs for job in _jobs(tmp_path, {}, *rates))
  assert first == second != third == fourth


def test_a_job_is_the_command_of_its_run(tmp_path):
  (job,) = _jobs(tmp_path, {}, {'seed': '7'})
  assert (job.name, job.program) == ('seed=7', 'experiments.train')
  assert job.arguments == (
    '--task=digits',
    '--total_rounds=3',
    '--seed=7',
    f'--output_dir={tmp_path}',
    '--experiment_name=seed=7',
  )
