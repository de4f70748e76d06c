"""Whether IFCA finds out who belongs to whom.

Ghosh, Chung, Yin, Ramchandran 2020, section 6, rotated MNIST: client k has its pictures turned by
k mod 4 quarters, and does not say so. IFCA with four models trains the 2NN on 40 clients, all of
them in each of 30 rounds, with 300 of their 1,500 pictures in a round. Then each client chooses the
model of least loss on all its training pictures, and models are matched to groups so that as many
clients as can be are right.
"""

import functools

import numpy as np

from baselines import training
from fl_research.models.model import Model
from fl_research.settings import Settings
from fl_research.training import assembly, group_agreement, run_data

GROUPS = 4
_ROUNDS = 30


@functools.cache
def share_found(seed: int) -> float:
  """The share of clients that are with their own group after 30 rounds."""
  settings = Settings(
    seed=seed,
    task='mnist',
    model='2nn',
    num_clients=40,
    rotations=GROUPS,
    clients_per_round=40,
    max_examples_per_client=300,
    client_batch_size='30',
    client_learning_rate=0.1,
    algorithm='ifca',
    hyperparameters={'ifca_clusters': GROUPS},
    total_rounds=_ROUNDS,
    rounds_per_evaluation=_ROUNDS,
    rounds_per_checkpoint=_ROUNDS,
  )
  data, found = training.checkpoints(settings, lambda process, state: process.models(state))
  model = assembly.build_model(settings, data.spec)
  losses = np.array([_losses(model, weights, data) for weights in found[-1].values()])
  return group_agreement.found(losses.argmin(axis=0), np.arange(len(data.train)) % GROUPS)


def _losses(model: Model, weights, data: run_data.RunData) -> list[float]:
  """The loss of each client's training examples, [clients]."""
  losses = []
  for position in range(len(data.train)):
    own = data.train.examples(position)
    output = model.predict_on_batch((weights, ()), own['x'], training=False)
    losses.append(float(np.mean(model.example_metrics(output, own['y'])['loss'])))
  return losses
