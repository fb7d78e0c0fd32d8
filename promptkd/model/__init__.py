"""The prompted CLIP: prompts as arguments of an open_clip model, class vectors, weights by name."""
