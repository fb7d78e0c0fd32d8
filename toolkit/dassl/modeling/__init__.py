"""Backbones, heads and networks by name; `dassl.modeling.ops` has layers and losses."""

from .backbone import BACKBONE_REGISTRY, Backbone, build_backbone
from .head import HEAD_REGISTRY, build_head
from .network import NETWORK_REGISTRY, build_network

__all__ = [
    "BACKBONE_REGISTRY",
    "HEAD_REGISTRY",
    "NETWORK_REGISTRY",
    "Backbone",
    "build_backbone",
    "build_head",
    "build_network",
]
