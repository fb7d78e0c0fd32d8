"""The methods, one file each; importing this package registers them with Dassl and registers no data set."""

from . import cocoop, coop, ivlp, kdpl, kgcoop, maple, promptkd, promptsrc, tfup, tfupt, upl, vpt, zsclip  # noqa: F401
