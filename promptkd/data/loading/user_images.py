"""The items of a data set, read by this project in the place of Dassl: as published, or upright."""

from __future__ import annotations

from typing import Any

from PIL import Image

from dassl.data.data_manager import DatasetWrapper
from promptkd.data.images import read_published, read_upright


class PublishedImages(DatasetWrapper):
    """Dassl's items (see DatasetWrapper) of a published data set: its pixels, also where PIL refuses the metadata."""

    def read(self, path: str) -> Image.Image:
        """Reads an image file as RGB.

        Raises:
            OSError: it cannot be read; the message names it and the option that leaves out such files.
        """
        try:
            return read_published(path)
        except OSError as error:
            raise _with_remedy(error) from error

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        output: dict[str, Any] = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        image = self.read(item.impath)
        if self.transform is None:
            output["img"] = image
        else:
            transforms = self.transform if isinstance(self.transform, list | tuple) else [self.transform]
            for number, transform in enumerate(transforms, start=1):
                output["img" if number == 1 else f"img{number}"] = self._transform_image(transform, image)
        if self.return_img0:
            output["img0"] = self.to_tensor(image)
        return output


class UserImages(PublishedImages):
    """Dassl's items of a user's images, which `read_upright` reads."""

    def read(self, path: str) -> Image.Image:
        """Reads an image file as RGB, upright.

        Raises:
            OSError: see PublishedImages.
        """
        try:
            return read_upright(path)
        except OSError as error:
            raise _with_remedy(error) from error


def _with_remedy(error: OSError) -> OSError:
    """The error of an image that cannot be read, with what to do about it."""
    return OSError(f"{error}; replace it, or leave out all such with DATASET.SKIP_BAD_IMAGES True")
