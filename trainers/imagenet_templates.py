"""The module that trainer files written for upstream take ImageNet's prompt templates from; no trainer of its own.

Two lists of upstream have the name IMAGENET_TEMPLATES: CoOp's 80, which its zsclip.py imports and does not average, and
PromptSRC's 60, which PromptSRC and what follows it do average. So it is the 60 here; the 80 are in
promptkd/model/templates.py.
"""

from promptkd.model.templates import IMAGENET_TEMPLATES_SELECT
from promptkd.model.templates import PROMPTSRC_TEMPLATES as IMAGENET_TEMPLATES

__all__ = ["IMAGENET_TEMPLATES", "IMAGENET_TEMPLATES_SELECT"]
