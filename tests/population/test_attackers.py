"""Who attacks."""

import pytest

from fl_research.population.attackers import draw_attackers


@pytest.mark.parametrize('fraction, count', [(0.0, 0), (0.2, 20), (0.204, 20), (0.99, 99)])
def test_draws_the_fraction(fraction, count):
  drawn = draw_attackers(100, fraction, seed=3)
  assert len(set(drawn)) == len(drawn) == count
  assert all(0 <= position < 100 for position in drawn)
  assert list(drawn) == sorted(drawn)


def test_depends_on_the_seed_alone():
  assert draw_attackers(50, 0.3, seed=1) == draw_attackers(50, 0.3, seed=1)
  assert draw_attackers(50, 0.3, seed=1) != draw_attackers(50, 0.3, seed=2)


def test_every_client_can_be_an_attacker():
  drawn = [draw_attackers(10, 0.2, seed) for seed in range(200)]
  counts = [sum(position in positions for positions in drawn) for position in range(10)]
  assert min(counts) > 20 and max(counts) < 65


@pytest.mark.parametrize('fraction', [-0.1, 1.0, float('nan')])
def test_refuses_what_is_not_a_fraction(fraction):
  with pytest.raises(ValueError, match='fraction'):
    draw_attackers(10, fraction, seed=0)
