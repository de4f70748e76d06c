"""TrieHH in plain Python, from the paper: votes are strings, the trie is a set of them."""

import collections


def grow(words, rounds, theta):
  """The words that are found, with their votes in the round of their end.

  Args:
    words: each client's, a string; empty for none.
    rounds: for each round the clients that are asked.
    theta: how many votes a prefix needs.
  """
  trie, found = {''}, {}
  for r, cohort in enumerate(rounds, start=1):
    votes = collections.Counter()
    for client in cohort:
      word = words[client] + '$' if words[client] else ''
      if len(word) >= r and word[: r - 1] in trie:
        votes[word[:r]] += 1
    enough = {prefix: count for prefix, count in votes.items() if count >= theta}
    trie |= set(enough)
    found |= {prefix[:-1]: count for prefix, count in enough.items() if prefix[-1] == '$'}
  return found
