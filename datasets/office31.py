"""Office-31 (Saenko et al., 2010): 31 kinds of office objects in three domains."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.domains import DomainDataset


@DATASET_REGISTRY.register(force=True)  # Dassl has one of that name
class Office31(DomainDataset):
    """`<domain>/<class>/`, or `<domain>/images/<class>/` as the authors' archive unpacks."""

    dataset_dir = "office31"
    other_dirs = ("Office31", "Office-31", "office-31", "office", "Office", "domain_adaptation_images")
    places = {name: (f"{name}/images", name) for name in ("amazon", "dslr", "webcam")}
    sizes = {"amazon": (2817, 2817), "dslr": (498, 498), "webcam": (795, 795)}
    classes = 31
