"""One run: configuration, task, training, evaluation, checkpoints."""
