"""The Dassl interface for prompt learning: config, data, trainers, evaluation. See README.md."""

__version__ = "0.7.0"
