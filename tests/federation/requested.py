"""Requests that tests make."""

import dataclasses

from fl_research.federation import proposal as proposals
from fl_research.federation.proposal import (
  Column,
  Experimenter,
  Graph,
  Privacy,
  Proposal,
  Release,
  SecureAggregation,
)

CENTRAL = Privacy('central', 1.1, 1.0, 9.0, 1e-5, 'poisson', 1000)

_ASKED = Proposal(
  experimenter=Experimenter('Ada Example'),
  data_set='heart_disease',
  columns=(Column('age', 'number'), Column('sick', 'label')),
  model='softmax',
  parameters=52,
  algorithm='fedavg',
  aggregator='mean',
  compressor='',
  total_rounds=10,
  clients_per_round=20,
  epochs=1,
  batch_size=20,
  secure_aggregation=SecureAggregation('protocol', 3),
  privacy=Privacy(),
  releases=(
    Release(proposals.MASKED_UPDATES, 1000),
    Release(proposals.TRAINING_METRICS, 100),
  ),
  graphs=(Graph('ab' * 32, "the clients' work", ('Add', 'MatMul')),),
  flags={'client_learning_rate': 0.1, 'seed': 1},
)


def asked(**changes) -> Proposal:
  """A request, with these changes."""
  return dataclasses.replace(_ASKED, **changes)


def unmasked(**changes) -> Proposal:
  """A request for updates that are sent as they are."""
  return asked(
    **{
      'secure_aggregation': SecureAggregation(),
      'releases': (Release(proposals.UPDATES, 1000),),
      **changes,
    }
  )
