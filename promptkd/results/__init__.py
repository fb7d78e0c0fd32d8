"""What a run leaves and how it is read; nothing here imports torch."""
