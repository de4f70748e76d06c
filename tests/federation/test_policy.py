"""The owner's policy: its file, and its decisions."""

import math

import pytest

from fl_research.federation import policy as policies
from fl_research.federation import proposal as proposals
from fl_research.federation.policy import ALLOWED, ASK, DENIED, History
from fl_research.federation.proposal import Column, Experimenter, Privacy, SecureAggregation
from fl_research.registry import UsageError
from tests.federation.requested import asked, CENTRAL, unmasked

KEY = '0f' * 32


def _policy(folder, text):
  path = folder / 'policy.toml'
  path.write_text(text)
  return policies.read(path)


def test_an_empty_file_asks_a_person_about_everything(tmp_path):
  decision = policies.decide(_policy(tmp_path, ''), asked(), History())
  assert decision.verdict == ASK
  # Where nothing was described, a stated epsilon however small is not understated.
  assert policies.decide(_policy(tmp_path, ''), asked(privacy=CENTRAL), History()).verdict == ASK
  assert decision.reasons == (
    'The request is within all limits of the policy, which has a person decide.',
  )


@pytest.mark.parametrize(
  'text, request_, history, verdict, reason',
  [
    ('[decision]\nwithin = "allow"', asked(), History(), ALLOWED, 'which is enough'),
    (f'experimenters.keys.Ada = "{KEY}"', asked(), History(), DENIED, 'has no key that the'),
    (
      f'experimenters.keys.Ada = "{KEY}"',
      asked(experimenter=Experimenter('A', KEY)),
      History(),
      ASK,
      'within all',
    ),
    (
      f'[experimenters]\nbeyond = "ask"\nkeys.Ada = "{KEY}"',
      asked(),
      History(),
      ASK,
      'has no key that the',
    ),
    ('data.sets = ["mnist"]', asked(), History(), DENIED, 'heart_disease is none of those'),
    ('data.sets = []', asked(), History(), DENIED, 'heart_disease is none of those'),
    (
      'data.withheld_columns = ["name"]',
      asked(columns=(Column('name', 'text'),)),
      History(),
      DENIED,
      'The column name is withheld',
    ),
    ('training.algorithms = ["fedprox"]', asked(), History(), ASK, 'fedavg is none of those'),
    ('training.most_rounds_per_run = 9', asked(), History(), ASK, 'may have 9 rounds'),
    ('training.most_rounds = 15', asked(), History(rounds=5), ASK, 'within all limits'),
    ('training.most_rounds = 15', asked(), History(rounds=6), ASK, 'they would have 16'),
    ('privacy.kinds = ["central"]', asked(), History(), DENIED, 'Differential privacy is none'),
    (
      'privacy.least_noise = 1.2',
      asked(privacy=CENTRAL),
      History(),
      DENIED,
      'is 1.1; the least is 1.2',
    ),
    (
      'privacy.most_epsilon = 2',
      asked(privacy=CENTRAL),
      History(epsilon_after=2.1),
      DENIED,
      'with this one they would cost 2.1',
    ),
    (
      'privacy.most_epsilon = 2',
      asked(),
      History(epsilon_after=math.inf),
      DENIED,
      'more than any number',
    ),
    (
      '',
      asked(privacy=CENTRAL),
      History(described_epsilon=9.1),
      DENIED,
      'The request states epsilon 9; what it describes has 9.1',
    ),
    ('', asked(), History(conflict='They differ.'), DENIED, 'They differ.'),
    (
      'secure_aggregation.least = "clear"',
      unmasked(),
      History(),
      DENIED,
      'Secure aggregation is none; the least',
    ),
    (
      'secure_aggregation.least_others = 4',
      asked(secure_aggregation=SecureAggregation('protocol', 3)),
      History(),
      DENIED,
      'at least 3 other sites; accepted is 4',
    ),
    (
      'secure_aggregation.least = "protocol"',
      asked(releases=(proposals.Release('counts', 9),)),
      History(),
      ASK,
      'within all limits',
    ),
    ('release.kinds = ["counts"]', unmasked(), History(), DENIED, 'Updates must not leave'),
  ],
)
def test_each_limit_decides_and_says_why(tmp_path, text, request_, history, verdict, reason):
  decision = policies.decide(_policy(tmp_path, text), request_, history)
  assert decision.verdict == verdict
  assert any(reason in sentence for sentence in decision.reasons)


def test_the_strictest_verdict_counts_and_all_reasons_are_given(tmp_path):
  rules = _policy(tmp_path, 'training.algorithms = []\ndata.sets = []\ndecision.within = "allow"\n')
  decision = policies.decide(rules, asked(), History())
  assert decision.verdict == DENIED
  assert len(decision.reasons) == 2


def test_a_data_set_has_its_own_budget_and_takes_the_rest_from_all(tmp_path):
  rules = _policy(
    tmp_path,
    '[privacy]\nmost_epsilon = 8\nleast_noise = 0.5\n[privacy.data_sets.a]\nmost_epsilon = 0\n',
  ).privacy
  assert rules.budget('a') == policies.Budget(0.0, None, 0.5)
  assert rules.budget('b') == policies.Budget(8.0, None, 0.5)
  assert rules.delta_of('a') == 1e-5


@pytest.mark.parametrize(
  'text, message',
  [
    ('x', 'is not TOML'),
    ('a = 1', 'a is not known; known are experimenters, data'),
    ('[training]\nmost_round = 1', r'training.most_round is not known \(did you mean most_rounds'),
    ('[training]\nmost_rounds = 0', 'training.most_rounds is 0; accepted is an integer of at'),
    ('training.beyond = "allow"', 'training.beyond is .allow.; accepted is ask or deny'),
    ('privacy.beyond = "ask"', 'privacy.beyond is not known'),
    ('privacy.kinds = ["much"]', 'privacy.kinds is .*; accepted is a list of none, central, local'),
    ('privacy.data_sets.a.epsilon = 1', r'privacy.data_sets.a.epsilon is not known'),
    ('experimenters.keys.Ada = "12"', 'experimenters.keys is .*; accepted is a table of names'),
    ('data = 1', 'data is not a table'),
  ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_file_and_key(tmp_path, text, message):
  with pytest.raises(UsageError, match=message) as raised:
    _policy(tmp_path, text)
  assert str(raised.value).startswith(f'{tmp_path / "policy.toml"}: ')
  assert '\n' not in str(raised.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
  with pytest.raises(UsageError, match='No such file'):
    policies.read(tmp_path / 'policy.toml')
  (tmp_path / 'policy.toml').write_bytes(b'\xff')
  with pytest.raises(UsageError, match='UTF-8'):
    policies.read(tmp_path / 'policy.toml')


def test_privacy_at_the_site_is_not_amplified_by_sampling():
  with pytest.raises(UsageError, match='accepted with local is availability'):
    Privacy('local', 1.0, 1.0, 9.0, 1e-5, 'poisson', 1000)
