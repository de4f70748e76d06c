"""Sites in this process: their programs as they are, without sockets."""

from fl_research.federation import guard, requests, site_noise, transport
from fl_research.federation import proposal as proposals
from fl_research.federation.site import Site
from fl_research.federation.site_data import SiteData

SECRET = bytes(32)
"""Of sites that add noise."""


class Anything:
  """A guard that allows everything that was asked for, and remembers what has left."""

  def __init__(self):
    self.left = []
    self.asked = None
    self.withholds = False
    self.sums_by_protocol = False
    self.least_others_of_surveys = 1

  def propose(self, proposal, signature):
    self.asked = proposal
    withheld = (proposals.TRAINING_METRICS,) if self.withholds else ()
    return guard.Answer(requests.APPROVED, withheld=withheld)

  def reports(self, run):
    asked = self.asked is None or self.asked.release(proposals.TRAINING_METRICS)
    released = asked and not self.withholds
    return (proposals.COUNTS, *((proposals.TRAINING_METRICS,) if released else ()))

  def withdraw(self, run, is_over):
    pass

  def close(self):
    pass

  def survey(self, kind):
    pass

  def surveyed(self, kind, message):
    self.left.append((kind, 0, message))

  def check_columns(self, run, columns):
    if self.asked is not None:
      assert set(columns) == {column.name for column in self.asked.columns}

  def check_graph(self, run, library):
    pass

  def admit(self, run, kind, round_num, clients=None, rows=None):
    pass

  def check_use(self, run, graph_hash):
    pass

  def least_others(self, run):
    return 1

  def noise(self, run):
    draws = self.asked is not None and self.asked.privacy.site_draws
    return site_noise.SiteNoise(SECRET, self.asked) if draws else None

  def noised(self, run, round_num, content):
    pass

  def signer(self, name):
    return None

  def received(self, run, kind, round_num, message):
    pass

  def leaves(self, run, kind, round_num, message, beside=()):
    self.left.append((kind, round_num, message))


class InProcess:
  """A `Transport` to handlers.

  Attributes:
    away: sites that do not answer.
    asked: (site, request) of all that was sent.
  """

  def __init__(self, handlers):
    self.handlers = dict(handlers)
    self.away = set()
    self.asked = []

  def sites(self):
    return tuple(sorted(self.handlers))

  def ask(self, requests, deadline_seconds):
    for name, request in requests.items():
      self.asked.append((name, request))
      if name in self.away:
        yield name, transport.Lost('is away')
      else:
        yield name, self.handlers[name](request)

  def traffic(self):
    return {}

  def close(self):
    pass


def sites(settings, clients_of, folder):
  """Sites that share out the clients of a task."""
  return {
    name: Site(name, SiteData(settings, clients), Anything(), folder / name)
    for name, clients in clients_of.items()
  }
