"""Prompt learning and distillation for CLIP: models, data, training, results and deployment as a library."""

from promptkd.guests import install_names

__version__ = "0.8.0"

install_names()
