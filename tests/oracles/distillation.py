"""Methods that learn from answers, in NumPy.

FedDF (Lin et al. 2020), FedMD / DS-FL (Li, Wang 2019; Itahara et al. 2021), FD (Jeong et al. 2018).
"""

import collections

import numpy as np

from tests.oracles import flat, softmax_regression


def _logits(vector, x):
  kernel, bias = flat.split(vector)
  return x @ kernel + bias


def _softmax(z):
  p = np.exp(z - z.max(axis=-1, keepdims=True))
  return p / p.sum(axis=-1, keepdims=True)


def _slope(vector, x, p):
  """Of the mean of KL(p || softmax(f(x)))."""
  error = (_softmax(_logits(vector, x)) - p) / len(x)
  return flat.join([x.T @ error, error.sum(axis=0)])


def _batches(known, passes):
  """Rows of the batches of one pass after the other; the D may have several."""
  steps = -(-int(known['num_examples']) // known['batches'].shape[1])
  for index in range(passes * steps):
    rows = known['batches'][index % len(known['batches'])]
    yield rows[rows >= 0]


def fed_df(weights, rounds, rate, known, passes, adam_rate):
  """Global weights after every round."""
  w, x, history = flat.join(weights), known['examples']['x'], []
  for cohort in rounds:
    models = np.array([flat.descend(w, data, rate)[0] for data in cohort])
    taught = _softmax(np.mean([_logits(m, x) for m in models], axis=0))
    w = flat.shares(cohort) @ models
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step, rows in enumerate(_batches(known, passes), 1):
      g = _slope(w, x[rows], taught[rows])
      first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
      # Kingma, Ba 2015, end of section 2, as TFF has it.
      size = adam_rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
      w = w - size * first / (np.sqrt(second) + 1e-7)
    history.append(flat.split(w))
  return history


def fed_md(weights, rounds, rate, known, passes, era=None):
  """What is agreed on after every round, and every client's model at the end; `era` is T."""
  models, agreed, x, history = {}, None, known['examples']['x'], []
  for cohort in rounds:
    answers = []
    for data in cohort:
      client = int(data['client'])
      own = models.get(client, flat.join(weights))
      for rows in _batches(known, passes) if agreed is not None else ():
        own = own - rate * _slope(own, x[rows], agreed[rows])
      models[client], _ = flat.descend(own, data, rate)
      answers.append(_logits(models[client], x))
    if era is None:
      agreed = _softmax(np.mean(answers, axis=0))
    else:
      agreed = _softmax(np.mean(_softmax(np.array(answers)), axis=0) / era)
    history.append(agreed)
  return history, {client: flat.split(own) for client, own in models.items()}


def fed_distill(weights, rounds, rate, gamma):
  """Of every round what each client sent, by client and class; every client's model at the end."""
  models, last, history = {}, {}, []
  for cohort in rounds:
    sent = {}
    for data in cohort:
      client = int(data['client'])
      others = [answers for other, answers in last.items() if other != client]
      own, given = models.get(client, flat.join(weights)), collections.defaultdict(list)
      for x, y in softmax_regression.batches(data):
        error = []
        for q, c in zip(_softmax(_logits(own, x)), y):
          given[c].append(q)
          taught = [answers[c] for answers in others if c in answers]
          pull = gamma * (q - np.mean(taught, axis=0)) if taught else 0.0
          error.append(q - np.eye(len(q))[c] + pull)
        error = np.array(error) / len(x)
        own = own - rate * flat.join([x.T @ error, error.sum(axis=0)])
      models[client] = own
      sent[client] = {c: np.mean(answers, axis=0) for c, answers in given.items()}
    last = sent
    history.append(sent)
  return history, {client: flat.split(own) for client, own in models.items()}
