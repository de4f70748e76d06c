"""What becomes of the columns of a table whose rows are at several sites: the engine's part.

The sites are asked in the rounds of `fl_research.importing.shared_fit`, and their numbers are added
up here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fl_research.federation.messages import Message
from fl_research.importing import shared_fit

Ask = Callable[[Mapping[str, Message], str], Mapping[str, Message]]
"""(requests by site, kind of the answers) -> answers by site."""


def find_out(sites: Sequence[str], ask: Ask) -> dict[str, Any]:
  """What all sites need to know before they make their data, as JSON has it.

  Args:
    sites: their names.
    ask: asks them.

  Raises:
    UsageError: their columns do not fit together; one line that names the column and the sites.
  """

  def asked(what: str, facts: Mapping[str, Any], *numbers: np.ndarray) -> Mapping[str, Message]:
    fields = {'what': what, 'facts': dict(facts)}
    request = Message('statistics', fields, {'numbers': list(numbers)})
    return ask(dict.fromkeys(sites, request), 'numbers')

  def total(what: str, facts: Mapping[str, Any], *numbers: np.ndarray) -> np.ndarray:
    answers = asked(what, facts, *numbers)
    return np.sum([answers[name].array('numbers') for name in sorted(answers)], axis=0)

  facts = {name: answer['facts'] for name, answer in asked('facts', {}).items()}
  agreement = shared_fit.Agreement({name: facts[name] for name in sorted(facts)})
  columns = {'columns': agreement.columns}
  named = asked('categories', columns)
  agreement.name_categories([answer['facts'] for answer in named.values()])
  sums = total('sums', {**columns, 'categories': agreement.categories})
  squares = total('squares', columns, agreement.means(sums))
  return agreement.preprocessing(sums, squares).to_data()
