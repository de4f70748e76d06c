"""LG-FedAvg: the first layers are each client's own.

Liang, Liu, Ziyin, Allen, Auerbach, Brent, Salakhutdinov, Morency 2020, "Think Locally, Act
Globally: Federated Learning with Local and Global Representations", algorithm 1. The mirror image
of FedPer (`fl_research.algorithms.personal.fed_per`): what never leaves the client is the part of
the model that reads the examples, and the server averages the layers after it. In a round a client
joins its own layers to the global ones, trains both together, keeps its own and sends the others'
delta.

`--lgfedavg_private_layers` names the layers that are kept, by default all but the last. With none
of them it is FedAvg, with all of them each client trains alone.

Differences from the paper:
1. The paper's local part may be trained by a loss of its own, unsupervised or against an adversary
   that looks for protected attributes; here it is the model's loss.
2. For clients that have not taken part the paper averages the answers of all local models; here
   they have the initial local layers.
3. The authors' code starts from a model that FedAvg has trained; `--initial_model` does so.
"""

from fl_research.algorithms.personal import fed_per
from fl_research.round.method import Method


def build(*, private_layers: str) -> Method:
  """The registry's entry point; the argument is that of `PrivateLayers`."""
  return fed_per.FedPer('lgfedavg', private_layers)
