"""A finished run in use: classifying images, exporting."""
