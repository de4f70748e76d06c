"""From folders of runs to tables, answers and figures, in pandas; TensorFlow is not needed.

runs = load_runs('results/**')
summarise(runs, parse_measure('eval/accuracy last 100').of(runs))
plot_curves(runs, 'eval/accuracy')
"""

from fl_research.analysis.comparison import compare, Comparison
from fl_research.analysis.inequality import fairness
from fl_research.analysis.intervals import bootstrap_interval, Interval, t_interval
from fl_research.analysis.measures import (
  choose_measure,
  crossing,
  final,
  last_n_mean,
  lower_is_better,
  Measure,
  parse_measure,
  rounds_to_target,
)
from fl_research.analysis.plots import (
  plot_clients,
  plot_curves,
  plot_rounds_to_target,
  plot_tradeoff,
)
from fl_research.analysis.runs import concatenate, load_runs, Runs
from fl_research.analysis.summaries import summarise
from fl_research.gini import gini

__all__ = [
  'Comparison',
  'Interval',
  'Measure',
  'Runs',
  'bootstrap_interval',
  'choose_measure',
  'compare',
  'concatenate',
  'crossing',
  'fairness',
  'final',
  'gini',
  'last_n_mean',
  'load_runs',
  'lower_is_better',
  'parse_measure',
  'plot_clients',
  'plot_curves',
  'plot_rounds_to_target',
  'plot_tradeoff',
  'rounds_to_target',
  'summarise',
  't_interval',
]
