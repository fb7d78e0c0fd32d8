"""A local page with a finished run behind it: images, the likeliest classes, and other classes to choose among."""
