"""Data sets of domain adaptation: labelled images of a source domain, unlabelled ones of a target."""

from .domainnet import DomainNet
from .office31 import Office31
from .office_home import OfficeHome
from .visda17 import VisDA17

__all__ = ["DomainNet", "Office31", "OfficeHome", "VisDA17"]
