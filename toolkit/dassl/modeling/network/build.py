"""From a name to a network."""

from __future__ import annotations

from typing import Any

from torch import nn

from dassl.utils import Registry, check_availability

NETWORK_REGISTRY = Registry("NETWORK")


def build_network(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build the network registered as `name`; keywords go to its builder.

    Raises:
        ValueError: unknown name.
    """
    check_availability(name, NETWORK_REGISTRY.registered_names())
    if verbose:
        print(f"Network: {name}")
    return NETWORK_REGISTRY.get(name)(**kwargs)
