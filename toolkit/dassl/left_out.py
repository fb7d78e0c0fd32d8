"""Names that upstream Dassl has and this package leaves out, so that asking for one says so."""

UPSTREAM = "https://github.com/KaiyangZhou/Dassl.pytorch"

_MIXED = ("l1", "l12", "l123")

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "trainer": (
        *("SourceOnly", "AdaBN", "DANN", "ADDA", "SE", "MCD", "MME", "M3SDA", "DAEL", "CDAC"),
        *("Vanilla", "DDAIG", "CrossGrad", "DAELDG", "DomainMix"),
        *("SupBaseline", "EntMin", "MeanTeacher", "MixMatch", "FixMatch"),
    ),
    "dataset": (
        *("CIFARSTL", "Digit5", "miniDomainNet"),
        *("VLCS", "OfficeHomeDG", "DigitsDG", "DigitSingle", "CIFAR10C", "CIFAR100C"),
        *("SVHN", "STL10", "IWildCam", "FMoW", "Camelyon17"),
    ),
    "backbone": (
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16", "alexnet", "mobilenetv2"),
        *("preact_resnet18", "wide_resnet_16_4", "wide_resnet_28_2"),
        *("cnn_digitsdg", "cnn_digitsingle", "cnn_digit5_m3sda"),
        *(f"efficientnet_b{i}" for i in range(8)),
        *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
        *(f"resnet{n}_{mix}_{layers}" for n in (18, 50, 101) for mix in ("ms", "efdmix") for layers in _MIXED),
    ),
}


def check_left_out(kind: str, name: str, registered: list[str]) -> None:
    """Raise where `name` is one of upstream's that this package does not have.

    Args:
        kind: "trainer", "dataset" or "backbone".
        registered: names that are there; one's own class may take an upstream name.

    Raises:
        ValueError: names upstream Dassl as the place to get it.
    """
    if name in LEFT_OUT[kind] and name not in registered:
        raise ValueError(
            f"{kind} '{name}' is part of upstream Dassl but left out of this package, which is for prompt learning;"
            f" to have it, install upstream in place of this: {UPSTREAM}"
        )
