"""The items of a user's images, which are read upright, in the place of Dassl's items."""

from __future__ import annotations

from typing import Any

from PIL import Image

from dassl.data.data_manager import DatasetWrapper
from promptkd.data.images import read_upright


class UserImages(DatasetWrapper):
    """Dassl's items (see DatasetWrapper) of a user's images, which `read_upright` reads."""

    def read(self, path: str) -> Image.Image:
        """Reads an image file as RGB.

        Raises:
            OSError: it cannot be read; the message names it and the option that leaves out such files.
        """
        try:
            return read_upright(path)
        except OSError as error:
            raise OSError(f"{error}; replace it, or leave out all such with DATASET.SKIP_BAD_IMAGES True") from error

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        output: dict[str, Any] = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        image = self.read(item.impath)
        transforms = self.transform if isinstance(self.transform, list | tuple) else [self.transform]
        for number, transform in enumerate(transforms, start=1):
            output["img" if number == 1 else f"img{number}"] = self._transform_image(transform, image)
        if self.return_img0:
            output["img0"] = self.to_tensor(image)
        return output
