"""A page that classifies images in the browser: the model, its runtime and the page in one file, without a network."""
