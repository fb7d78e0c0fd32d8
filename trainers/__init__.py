"""The methods, one file each; importing this package registers them with Dassl and registers no data set."""

from trainers import promptkd, promptsrc, zsclip  # noqa: F401
