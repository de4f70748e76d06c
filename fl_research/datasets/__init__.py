"""Data sets, one module each: `load(options)` reads it. `fl_research.tasks` has them by name."""
