"""Data sets of domain generalisation: trained on some domains, tested on others that nothing was seen of."""

from .pacs import PACS

__all__ = ["PACS"]
