"""Classifies images with a finished run, or with a folder that PromptedClip.save wrote.

    python examples/classify.py RUN photo.jpg [more.jpg ...]

It needs `pip install .`, or PYTHONPATH=. in a checkout. RUN is what training leaves, as
output/base2new/emoji/shots_all/PromptKD/mini/seed1 after `bash scripts/quickstart.sh`.
"""

from __future__ import annotations

import sys

from PIL import Image

import promptkd


def main(run: str, files: list[str]) -> None:
    """Prints the three likeliest classes of each image."""
    student = promptkd.load(run)  # image encoder, prompts and class vectors: no teacher, no text encoder
    print(f"{student.model.about['backbone']}, {len(student.classnames)} classes")
    for file in files:
        with Image.open(file) as image:
            likeliest = student.predict(image, top=3)
        print(file, *(f"{name} {100 * probability:.1f} %" for name, probability in likeliest), sep="  ")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
