"""Data sets of the benchmark and of users: finding them, splits, few-shot lists, class groups, checks."""
