"""Image features in a file from elsewhere: another machine, another framework, any image tower.

A safetensors file with "features" (N, D), "sha256" (N, 32) uint8, the SHA-256 of each image's file, and in its header
"backbone", the name of the tower. Images are known by what their files hold: names and folders may differ, and a file
of other images, or of images that were changed since, has no row for these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from promptkd.bounded import named
from promptkd.files import content_digest, replacing
from promptkd.tensors import check_finite, read_safetensors
from promptkd.texts import clipped

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class FeatureFile:
    """The features of some images.

    Attributes:
        path: of the file, for messages.
        features: (N, D) float32, of any norm.
        rows_of: SHA-256 of an image's file -> its row.
        backbone: name of the tower; "" where the file does not say it.
    """

    path: Path
    features: Tensor
    rows_of: dict[bytes, int]
    backbone: str = ""

    @classmethod
    def read(cls, path: str | Path, backbone: str = "", width: int = 0) -> FeatureFile:
        """Reads a file that `write` or somebody else wrote.

        Args:
            path: the file.
            backbone, width: of the tower whose features they have to be; "" and 0 for any.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no such features, or another tower's; the message says why.
        """
        tensors, header = read_safetensors(path)
        if lacking := [name for name in ("features", "sha256") if name not in tensors]:
            raise ValueError(f"{named(path)} holds no image features: no tensor {' and no '.join(lacking)}")
        features, digests = tensors["features"], tensors["sha256"]
        if features.dim() != 2 or not features.is_floating_point() or not features.numel():
            raise ValueError(f"{named(path)}: features are {tuple(features.shape)} of {features.dtype}, not (N, D)")
        if digests.shape != (len(features), _DIGEST) or digests.dtype != torch.uint8:
            kind = f"{tuple(digests.shape)} of {digests.dtype}"
            raise ValueError(f"{named(path)}: sha256 is {kind}, not ({len(features)}, {_DIGEST}) of torch.uint8")
        check_finite(features, "features", path)
        given = header.get("backbone", "")
        if backbone and given and given != backbone:
            raise ValueError(f"{named(path)} has features by {clipped(given, 200)}, this run has {backbone}")
        if width and features.shape[1] != width:
            raise ValueError(f"{named(path)} has features of {features.shape[1]} channels, this tower's have {width}")
        rows = {row.tobytes(): number for number, row in enumerate(digests.numpy())}
        return cls(Path(path), features.float(), rows, given)

    def of_images(self, paths: Sequence[str]) -> Tensor:
        """The features (n, D) of n images, by what their files hold.

        Raises:
            OSError: an image cannot be read.
            ValueError: an image is none of the file's.
        """
        rows = [self.rows_of.get(_sha256(path)) for path in paths]
        if strange := [path for path, row in zip(paths, rows, strict=True) if row is None]:
            raise ValueError(
                f"{named(self.path)} has no features of {len(strange)} of {len(paths)} images, first "
                f"{named(strange[0])} (by SHA-256): it is of other images, or they were changed; make it anew"
            )
        return self.features[torch.tensor(rows)]


def write(path: str | Path, features: Tensor, images: Sequence[str], backbone: str = "") -> None:
    """Writes features (N, D) of N image files, whole or not at all.

    Args:
        path: of the file.
        features: of any norm and float type.
        images: paths, in the order of the rows.
        backbone: the tower, as MODEL.BACKBONE.NAME calls it.

    Raises:
        ValueError: not one row for each image.
        OSError: an image cannot be read, or the file not be written.
    """
    if len(features) != len(images):
        raise ValueError(f"{len(features)} rows for {len(images)} images")
    digests = torch.frombuffer(bytearray(b"".join(map(_sha256, images))), dtype=torch.uint8)
    tensors = {"features": features.detach().cpu().contiguous(), "sha256": digests.reshape(-1, _DIGEST)}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={"backbone": backbone, "format": "1"})


def _sha256(path: str) -> bytes:
    return bytes.fromhex(content_digest(path))
