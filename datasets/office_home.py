"""Office-Home (Venkateswara et al., 2017): 65 kinds of objects of offices and homes in four domains."""

from dassl.data.datasets import DATASET_REGISTRY
from promptkd.data.domains import DomainDataset


@DATASET_REGISTRY.register(force=True)  # Dassl has one of that name
class OfficeHome(DomainDataset):
    """`<domain>/<class>/`. The authors' archive is `OfficeHomeDataset_10072016/`, its domains "Art", "Real World"."""

    dataset_dir = "office_home"
    other_dirs = ("OfficeHome", "Office-Home", "office-home", "OfficeHomeDataset", "OfficeHomeDataset_10072016")
    places = {
        "art": ("art", "Art"),
        "clipart": ("clipart", "Clipart"),
        "product": ("product", "Product"),
        "real_world": ("real_world", "Real World", "Real_World", "RealWorld", "Real"),
    }
    sizes = {"art": (2427, 2427), "clipart": (4365, 4365), "product": (4439, 4439), "real_world": (4357, 4357)}
    classes = 65
