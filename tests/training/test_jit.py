"""A run that is resumed with `--jit=auto` goes on as its first session did."""

import json

from fl_research.training import experiment, run_folder
from tests.training import runs


def test_a_resumed_run_keeps_what_jit_auto_found(tmp_path):
  folder = tmp_path / 'jit'
  assert runs.start(folder, '--total_rounds=1', '--jit=auto') == 0
  assert runs.manifest(folder)['runtime']['jit_choices']
  resumed = runs.settings(folder, '--total_rounds=1', '--jit=auto')
  for found, jit in ((True, 'on'), (False, 'off')):
    manifest = runs.manifest(folder)
    manifest['runtime']['jit_choices'] = [{'jit': found}]
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    assert experiment._jit(resumed, run_folder.RunFolder(resumed)) == jit
  plain = runs.settings(folder, '--total_rounds=1')
  assert experiment._jit(plain, run_folder.RunFolder(plain)) == 'off'
