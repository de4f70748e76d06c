"""Every name that users type: its line in a registry, and what is said about a wrong one."""

import importlib.util

import pytest

from fl_research import registry, tasks
from fl_research import settings as settings_lib
from fl_research.aggregation import privacy
from fl_research.optimizers import schedules
from fl_research.population import cohorts

_TABLES = {
  **{f'{r.setting}, {r.prefix or "names"}': r.table for r in settings_lib.registries()},
  'task': tasks.TASKS,
  'cohort_sampling': cohorts.SAMPLINGS,
  'client_lr_schedule': schedules.SCHEDULES,
  'dp_clipping': privacy.CLIPPINGS,
  'dp_accountant': privacy.ACCOUNTANTS,
  'client_weighting': settings_lib.CLIENT_WEIGHTINGS,
}


@pytest.mark.parametrize('setting', _TABLES)
def test_every_entry_has_a_module_and_a_line_of_its_own(setting):
  for name, entry in _TABLES[setting].items():
    assert importlib.util.find_spec(entry.module) is not None, name
    assert entry.summary and '\n' not in entry.summary, name


def test_the_nearest_name():
  assert registry.nearest('fedavgg', ['fedprox', 'fedavg']) == 'fedavg'
  assert registry.nearest('x', ['fedprox', 'fedavg']) == ''
  assert registry.suggestion('fedavgg', {'fedavg': 1}) == ' (did you mean fedavg?)'
  assert registry.suggestion('x', {'fedavg': 1}) == ''
