"""FedBN: the layers that normalise are each client's own.

Li, Jiang, Zhang, Kamp, Dou 2021, "FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization", algorithm 1. Clients see the same things differently (another scanner, another
camera), which shows in the moments of what layers compute. So all that normalises stays at the
client, and FedAvg is made of the rest: with N the weights (γ, β) of layers that normalise,

    client k:  w_k, N_k <- steps of the client optimiser from (w, N_k);  sends w_k - w, keeps N_k
    server:    w <- w + 1/|S| Σ_k (w_k - w)

It is FedPer with other layers (`fl_research.algorithms.personal.fed_per`): which they are is found
by the names of their weights, as Keras has them, whatever the layers are called.
`--fedbn_private_layers` may name others, or some of them; with `none` it is FedAvg. A model without
such a layer is refused: `--cnn_normalization=group`, `--mlp_normalization=layer` and
`--model=resnet18_gn` have some, and a Keras model of one's own may. `--renderings` makes clients
that see the same pictures differently.

Differences from the paper:
1. Layers normalise over groups of channels, or all of them, of one example, and not over a batch:
   there are no running moments to keep, only γ and β. The models here are functions of their
   weights and of one example; moments of a batch would depend on the padding of the last one.
2. The paper trains all clients in every round; here what a client keeps rests while it is not
   drawn.
3. Clients count the same, as in algorithm 1 and in the authors' code;
   `--client_weighting=num_examples` weighs them as FedPer does.
"""

from fl_research.algorithms.personal import fed_per
from fl_research.round.method import Method


def build(*, private_layers: str) -> Method:
  """The registry's entry point; the argument is that of `PrivateLayers`."""
  return fed_per.FedPer('fedbn', private_layers)
