"""Images with odd or damaged parts beside their pixels, of extreme shape, or cut: read, or refused with their name."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from promptkd.data import formats
from promptkd.data.images import MAX_RATIO, image_fault, read_content, read_published, read_upright
from promptkd.data.loading.decoding import read_draft
from promptkd.home import ROOT

READERS = (read_upright, read_published)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    ramp = np.add.outer(np.arange(40), np.arange(60))
    return np.stack([ramp * 2, 255 - ramp * 2, ramp], axis=-1).astype(np.uint8)  # (40, 60, 3)


def encoded(pixels: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png_with(pixels: np.ndarray, *chunks: bytes, behind: bool = False, end: bool = True) -> bytes:
    """A PNG with more chunks: before the pixels, or behind them."""
    plain = encoded(pixels, "PNG")
    head, middle, tail = plain[:33], plain[33:-12], plain[-12:] if end else b""
    return head + (middle + b"".join(chunks) if behind else b"".join(chunks) + middle) + tail


def jpeg_with(pixels: np.ndarray, *segments: tuple[int, bytes]) -> bytes:
    plain = encoded(pixels, "JPEG", quality=95)
    more = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(text) + 2) + text for marker, text in segments)
    return plain[:20] + more + plain[20:]


def webp_with(pixels: np.ndarray, cut: int = 0, **options) -> bytes:
    content = encoded(pixels, "WEBP", lossless=True, **options)
    return content[: len(content) - cut]


BIG = zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))
PNG_CASES = {
    "text larger than PIL's limit": (chunk(b"zTXt", b"k\0\0" + BIG),),
    "texts larger together": tuple(
        chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK - 1))) for _ in range(70)
    ),
    "international text": (chunk(b"iTXt", b"k\0\1\0\0\0" + BIG),),
    "checksum of a text": (chunk(b"tEXt", b"k\0v", crc=1),),
    "checksum of a time": (chunk(b"tIME", b"\7\xe8\1\1\1\1\1", crc=2),),
    "profile of garbage": (chunk(b"iCCP", b"icc\0\0garbage"),),
    "profile that is a bomb": (chunk(b"iCCP", b"icc\0\0" + BIG),),
    "checksum of a profile": (chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"p"), crc=3),),
    "short chunks": (chunk(b"gAMA", b"\0"), chunk(b"cHRM", b"\0"), chunk(b"pHYs", b"\0"), chunk(b"sRGB", b"")),
    "EXIF of garbage": (chunk(b"eXIf", b"II*\0\xff\xff\xff\xff\0\0\0\0"),),
    "EXIF's checksum": (chunk(b"eXIf", b"MM\0*", crc=4),),
    "text without end": (chunk(b"tEXt", b"no end"), chunk(b"zTXt", b"k\0\7unknown")),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("case", PNG_CASES)
def test_png(case: str, behind: bool, pixels: np.ndarray, tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(png_with(pixels, *PNG_CASES[case], behind=behind))
    for read in READERS:
        assert np.array_equal(np.asarray(read(str(path))), pixels)
    assert image_fault(str(path)) is None


@pytest.mark.parametrize("tail", [b"", b"\0\0\0\x09tEXtk\0v", b"\0\0\0\0IEND", b"\0\0\0\0IEND\0\0\0\0", b"garbage" * 9])
def test_png_whose_last_part_is_cut(tail: bytes, pixels: np.ndarray, tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(png_with(pixels, end=False) + tail)
    for read in READERS:
        assert np.array_equal(np.asarray(read(str(path))), pixels)


def test_png_keeps_its_turn_and_transparency(pixels: np.ndarray, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    clear[:, :9, 3] = 0
    plain = encoded(clear, "PNG", exif=exif)
    (tmp_path / "plain.png").write_bytes(plain)
    (tmp_path / "odd.png").write_bytes(plain[:33] + chunk(b"tEXt", b"k\0v", crc=1) + plain[33:])
    for read in READERS:
        one, other = (np.asarray(read(str(tmp_path / f"{name}.png"))) for name in ("plain", "odd"))
        assert np.array_equal(one, other)
    assert read_upright(str(tmp_path / "odd.png")).size == (40, 60)


JPEG_CASES = {
    "EXIF of garbage": ((0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f\0\0"),),
    "EXIF that is cut": ((0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12"),),
    "EXIF's loop": ((0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08"),),
    "EXIF's turn of a wrong kind": ((0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\2\0\0\0\4abc\0\0\0\0\0"),),
    "profile of garbage": ((0xE2, b"ICC_PROFILE\0\1\1garbage"), (0xE2, b"ICC_PROFILE\0\xff\0")),
    "Photoshop's part": ((0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"),),
    "more pictures of garbage": ((0xE2, b"MPF\0II*\0\x08\0\0\0\1\0\x01\xb0\4\0\1\0\0\0\xff\xff\0\0"),),
    "comments": ((0xFE, b"\xff\xd9" * 30), (0xEC, b"Ducky\0"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:")),
    "nothing": ((0xE1, b""), (0xE2, b""), (0xED, b"")),
}


@pytest.mark.parametrize("case", JPEG_CASES)
def test_jpeg(case: str, pixels: np.ndarray, tmp_path: Path):
    plain, odd = tmp_path / "plain.jpg", tmp_path / "odd.jpg"
    plain.write_bytes(jpeg_with(pixels))
    odd.write_bytes(jpeg_with(pixels, *JPEG_CASES[case]))
    for read in READERS:
        assert np.array_equal(np.asarray(read(str(odd))), np.asarray(read(str(plain))))
    for upright in (False, True):
        assert read_draft(str(odd), 10, upright) is not None


def test_webp(pixels: np.ndarray, tmp_path: Path):
    exif, path = Image.Exif(), tmp_path / "a.webp"
    exif[0x010F] = "maker" * 50
    for content in (
        webp_with(pixels, exif=exif.tobytes(), cut=90),  # cut in EXIF
        webp_with(pixels, icc_profile=b"garbage" * 9),
        webp_with(pixels, exif=b"Exif\0\0garbage"),
        webp_with(pixels, xmp=b"<x:" * 50, cut=40),
    ):
        path.write_bytes(content)
        for read in READERS:
            assert np.array_equal(np.asarray(read(str(path))), pixels)


def test_sound_profiles_change_nothing(pixels: np.ndarray, tmp_path: Path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "a.png").write_bytes(encoded(pixels, "PNG", icc_profile=profile))
    assert np.array_equal(np.asarray(read_upright(str(tmp_path / "a.png"))), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_cut_pixels_are_refused(kind: str, kept: float, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = encoded(noise, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(content[: int(kept * len(content))])
    for read in READERS:
        with pytest.raises(OSError, match="cannot read the image .*cut"):
            read(str(path))


def test_damaged_pixels_are_refused(pixels: np.ndarray, tmp_path: Path):
    content = bytearray(encoded(pixels, "PNG"))
    content[60] ^= 255
    (tmp_path / "a.png").write_bytes(content)
    assert "SyntaxError" in str(image_fault(str(tmp_path / "a.png"))) or image_fault(str(tmp_path / "a.png"))


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (100_000, 2), (2, 1000)])
def test_extreme_shapes_are_refused_with_their_name(size: tuple[int, int], tmp_path: Path):
    for kind in ("png", "jpg"):
        if max(size) > 65_000 and kind == "jpg":
            continue
        Image.new("RGB", size).save(tmp_path / f"thin.{kind}")
        for read in READERS:
            with pytest.raises(
                OSError, match=rf"thin.{kind}.*{size[0]} x {size[1]} pixels: one side is over {MAX_RATIO}"
            ):
                read(str(tmp_path / f"thin.{kind}"))
        assert read_draft(str(tmp_path / f"thin.{kind}"), 1) is None
    Image.new("RGB", (2, 2 * MAX_RATIO)).save(tmp_path / "long.png")
    assert read_upright(str(tmp_path / "long.png")).size == (2, 2 * MAX_RATIO)


def test_bombs_cost_no_memory(pixels: np.ndarray, tmp_path: Path):
    """A few hundred bytes that claim 10 GB of pixels, as they are and with a damaged text beside."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    for name, more in (("bomb", b""), ("odd", chunk(b"tEXt", b"k\0v", crc=1))):
        body = chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    code = (
        "import sys; from promptkd.data.images import image_fault;"
        "print([image_fault(path) for path in sys.argv[1:]]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    paths = [str(tmp_path / f"{name}.png") for name in ("bomb", "odd")]
    run = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True, timeout=60)
    faults, peak = run.stdout.splitlines()
    assert faults.count("Error") >= 2 and int(peak) < 300 * 1024


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.4\n", b"\xd7\xcd\xc6\x9a"]
)
def test_no_program_is_started_for_an_image(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started: list[object] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **_: started.append(words))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    for name in ("a.jpg", "a.eps"):
        (tmp_path / name).write_bytes(content)
        for read in (read_upright, read_published):
            with pytest.raises(OSError, match=f"{name}.*cannot identify"):
                read(str(tmp_path / name))
        assert read_draft(str(tmp_path / name), 8) is None
    with pytest.raises(OSError, match="no image"):
        read_content(content, "sent.jpg")
    assert not started


def test_heic_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    if ".heic" not in formats.image_suffixes():
        with pytest.raises(OSError, match="a.heic.*HEIC images need a package: pip install pillow-heif"):
            read_upright(str(tmp_path / "a.heic"))


def test_a_plugin_is_registered_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    class Plugin:
        registered = 0

        @classmethod
        def register_heif_opener(cls) -> None:
            cls.registered += 1

    monkeypatch.setitem(sys.modules, "pillow_heif", Plugin)
    formats.register_plugins.cache_clear()
    formats.register_plugins()
    formats.register_plugins()
    assert Plugin.registered == 1
    formats.register_plugins.cache_clear()
