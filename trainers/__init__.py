"""The methods, one file each; importing this package registers them with Dassl and registers no data set."""

from . import (  # noqa: F401  # noqa: F401
    advivlp,
    advpromptkd,
    apd,
    cocoop,
    coop,
    fap,
    feature_teacher,
    ivlp,
    kdpl,
    kgcoop,
    maple,
    promptkd,
    promptsrc,
    tfup,
    tfupt,
    upl,
    vpt,
    zsclip,
)
