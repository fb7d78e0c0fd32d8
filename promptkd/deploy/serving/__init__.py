"""A finished run over HTTP: images come in, class probabilities go out, and no request harms the others."""
