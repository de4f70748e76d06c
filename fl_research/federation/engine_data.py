"""The data of a run whose examples are at sites, as far as the engine knows of them."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from fl_research import models
from fl_research.datasets import passport
from fl_research.datasets.federated_data import Clients, Examples
from fl_research.federation import addresses, at_sites, direct
from fl_research.federation.engine import Engine
from fl_research.federation.transport import Transport
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training import run_data, terminal


class ClientsAtSites(Clients):
  """Clients whose names and sizes are known here, and whose examples are not.

  Args:
    ids: their names.
    sizes: how many examples each has.
  """

  def __init__(self, ids: Sequence[str], sizes: np.ndarray):
    self._ids, self._sizes = list(ids), np.asarray(sizes, np.int64)

  @property
  def ids(self) -> Sequence[str]:
    return self._ids

  @property
  def sizes(self) -> np.ndarray:
    return self._sizes

  def examples(self, position: int) -> Examples:
    raise NotImplementedError(f'the examples of {self._ids[position]} are at their site')


def connect(address: str) -> Transport:
  """The way to the sites that `--federation` names.

  Raises:
    UsageError: it names none.
  """
  kind, _, rest = address.partition(':')
  if kind == 'direct' and rest:
    named = [each.partition('=') for each in rest.split(',')]
    if all(name and where for name, _, where in named):
      parse = lambda where: addresses.parse('--federation', where)
      return direct.Direct({name: parse(where) for name, _, where in named})
  if kind == 'flower' and rest:
    from fl_research.federation import flower

    where, *awaited = rest.split(',')
    return flower.Flower(addresses.parse('--federation', where), awaited=awaited)
  raise UsageError(
    f'--federation={address}: accepted are direct:NAME=ADDRESS,… and flower:ADDRESS, or '
    'flower:ADDRESS,NAME,… with the sites to be awaited; an ADDRESS is unix:/path/of/a.sock or '
    '127.0.0.1:PORT'
  )


def load(settings: Settings) -> run_data.RunData:
  """Meets the sites; gives what is known of their data.

  Raises:
    UsageError: the sites cannot be reached, refuse, or have data that do not fit together.
  """
  engine = Engine(
    connect(settings.federation),
    settings.min_sites,
    settings.site_deadline_seconds,
    terminal.note,
  )
  engine.meet(settings.task)
  sites = list(engine.sites.values())
  clients = ClientsAtSites(
    [own for site in sites for own in site.ids], np.concatenate([site.sizes for site in sites])
  )
  spec = engine.spec
  model = run_data.model_name(settings, spec)
  spec = dataclasses.replace(spec, hyperparameters=settings.hyperparameters_of(model))
  models.check(model, spec)
  cohort_size = run_data.cohort_size_of(clients, settings)
  nothing = np.zeros([0, *spec.input_shape], spec.x_dtype)
  return run_data.RunData(
    train=clients,
    test={'x': nothing, 'y': np.zeros([0, *spec.label_shape], spec.label_dtype)},
    test_clients=None,
    held_out=None,
    server=None,
    cohort_size=cohort_size,
    combined=cohort_size,
    availability=None,
    problem=spec.problem,
    num_classes=spec.num_classes,
    spec=spec,
    model=model,
    sources={f'site {site.name}': f'{site.sizes.sum()} examples' for site in sites},
    passport=passport.of_sizes(clients),
    class_names=engine.class_names,
    preprocessing=engine.preprocessing,
    sites=at_sites.Sites(engine),
  )
