"""Images as people have them, read upright as RGB, or named where they cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import write_image

from promptkd.data.formats import image_suffixes
from promptkd.data.images import read_upright


def save(path: Path, array: np.ndarray, mode: str | None = None, **options) -> str:
    Image.fromarray(array, mode).save(path, **options) if mode else Image.fromarray(array).save(path, **options)
    return str(path)


def test_modes(tmp_path: Path):
    red = np.zeros((4, 6, 4), dtype=np.uint8)  # (H, W, RGBA)
    red[..., 0], red[:, :3, 3] = 255, 255
    shown = np.asarray(read_upright(save(tmp_path / "alpha.png", red)))
    assert shown.shape == (4, 6, 3)
    assert (shown[:, :3] == (255, 0, 0)).all() and (shown[:, 3:] == 255).all(), "transparent is white"
    Image.fromarray(red).quantize(4).save(tmp_path / "palette.png")
    assert np.asarray(read_upright(str(tmp_path / "palette.png")))[0, 0].tolist() == [255, 0, 0]
    grey = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    deep = np.asarray(read_upright(save(tmp_path / "deep.png", grey)))
    assert np.abs(deep[..., 0].astype(int) - (grey >> 8)).max() <= 1 and len(np.unique(deep)) > 20
    assert np.array_equal(np.asarray(read_upright(save(tmp_path / "deep.tiff", grey))), deep)
    camera = (grey >> 4).astype(np.uint16)  # 12 bits
    assert np.array_equal(np.asarray(read_upright(save(tmp_path / "12 bits.png", camera))), deep)
    frame = Image.fromarray(red[..., :3])
    frame.save(tmp_path / "two.mpo", save_all=True, append_images=[frame])
    assert read_upright(str(tmp_path / "two.mpo")).size == (6, 4)
    Image.fromarray(red[..., :3]).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(np.asarray(read_upright(str(tmp_path / "cmyk.jpg"))).astype(int) - (255, 0, 0)).max() < 8
    Image.fromarray(grey > 30000).save(tmp_path / "bits.png")
    assert set(np.asarray(read_upright(str(tmp_path / "bits.png"))).ravel()) == {0, 255}


def test_rotated_by_exif(tmp_path: Path):
    array = np.zeros((4, 8, 3), dtype=np.uint8)
    array[:, :4] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to be upright
    upright = np.asarray(read_upright(save(tmp_path / "turned.png", array, exif=exif)))
    assert upright.shape == (8, 4, 3) and (upright[:4] == 255).all() and (upright[4:] == 0).all()


def test_images_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = write_image(tmp_path / "whole.png", size=(64, 64))
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:-30])
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    save(tmp_path / "float.tiff", np.ones((2, 2), dtype=np.float32))
    for name, why in (("cut.png", ""), ("empty.png", "the file is empty"), ("page.jpg", ""), ("float.tiff", "8 or 16")):
        with pytest.raises(OSError, match=f"cannot read the image .*{name}.*{why}") as error:
            read_upright(str(tmp_path / name))
        assert "\n" not in str(error.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(OSError, match="whole.png.*decompression bomb"):
        read_upright(str(whole))


def test_suffixes():
    assert {
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".ppm",
        ".jp2",
        ".mpo",
    } <= image_suffixes()
    assert not {".pdf", ".eps", ".mpg", ".txt", ".json", ".csv", ".mat", ".h5"} & image_suffixes()
