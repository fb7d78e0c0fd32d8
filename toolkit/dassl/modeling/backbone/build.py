"""From a name to a backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dassl.left_out import check_left_out
from dassl.utils import Registry, check_availability

if TYPE_CHECKING:
    from .backbone import Backbone

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(name: str, verbose: bool = True, **kwargs: Any) -> Backbone:
    """Build the backbone registered as `name`; keywords go to its builder.

    Raises:
        ValueError: unknown name, or one of upstream's networks.
    """
    known = BACKBONE_REGISTRY.registered_names()
    check_left_out("backbone", name, known)
    check_availability(name, known)
    if verbose:
        print(f"Backbone: {name}")
    return BACKBONE_REGISTRY.get(name)(**kwargs)
