"""The data sets; importing this package registers each of them with Dassl under its published name."""

from datasets import eurosat  # noqa: F401
