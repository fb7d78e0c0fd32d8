"""Data sets of the benchmark and of users: folders on disk, splits, few-shot lists, class groups, checks."""
