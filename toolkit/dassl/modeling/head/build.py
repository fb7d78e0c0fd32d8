"""From a name to a head."""

from __future__ import annotations

from typing import Any

from torch import nn

from dassl.utils import Registry, check_availability

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build the head registered as `name`; keywords go to its builder.

    Raises:
        ValueError: unknown name.
    """
    check_availability(name, HEAD_REGISTRY.registered_names())
    if verbose:
        print(f"Head: {name}")
    return HEAD_REGISTRY.get(name)(**kwargs)
