"""Made-up pictures of the sizes and modes that people's files have, by which preprocessing is checked.

They go through a file in memory each, so that they come back as Pillow opens such files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# what, mode, format, size
_KINDS = (
    ("grey", "L", "PNG", (301, 200)),
    ("RGBA", "RGBA", "PNG", (90, 413)),
    ("CMYK", "CMYK", "JPEG", (640, 427)),
    ("turned by EXIF", "RGB", "JPEG", (400, 300)),
    ("palette", "P", "GIF", (128, 128)),
    ("wide", "RGB", "WEBP", (1013, 97)),
    ("small", "RGB", "PNG", (19, 23)),
)
_ORIENTATION = 0x0112


def made_up() -> Iterator[tuple[str, Image.Image]]:
    """What a picture is, and the picture as Pillow opens its file."""
    import numpy as np
    from PIL import Image

    numbers = np.random.default_rng(20)
    for what, mode, kind, size in _KINDS:
        colours = numbers.integers(0, 256, (6, 7, len(mode) if mode in ("RGBA", "CMYK") else 3), dtype=np.uint8)
        picture = Image.fromarray(colours, mode if mode in ("RGBA", "CMYK") else "RGB").resize(size)
        file, exif = io.BytesIO(), Image.Exif()
        exif[_ORIENTATION] = 6 if "EXIF" in what else 1
        picture.convert(mode).save(file, kind, **({"exif": exif} if kind == "JPEG" else {}))
        yield what, Image.open(io.BytesIO(file.getvalue()))
