"""Registry, meters, logger, files, seeds, downloads."""

import io
import os
import random
import sys
import tarfile
import urllib.request
import zipfile
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from PIL import Image

from dassl import utils
from dassl.utils import AverageMeter, MetricMeter, Registry


def test_registry():
    registry = Registry("ANIMAL")

    @registry.register()
    class Cat:
        pass

    assert registry.get("Cat") is Cat and registry.registered_names() == ["Cat"]
    with pytest.raises(ValueError, match="'Cat' of .* is already registered in ANIMAL by "):
        registry.register(Cat)
    other = registry.register(type("Cat", (), {}), force=True)
    assert registry.get("Cat") is other is not Cat
    with pytest.raises(ValueError, match="unknown name 'cta' in ANIMAL; did you mean 'Cat'\\?"):
        registry.get("cta")


def test_check_availability():
    utils.check_availability("sgd", ["adam", "sgd"])
    with pytest.raises(ValueError, match="unknown name 'sdg'; did you mean 'sgd'\\? Known: adam, sgd"):
        utils.check_availability("sdg", ["adam", "sgd"])


def test_average_meter():
    meter = AverageMeter()
    meter.update(1.0)
    meter.update(torch.tensor(4.0), n=2)
    assert (meter.val, meter.avg, meter.sum, meter.count) == (4.0, 3.0, 9.0, 3)
    moving = AverageMeter(ema=True)
    moving.update(1.0)
    moving.update(2.0)
    assert moving.avg == pytest.approx(0.1 * 0.9 + 0.2)


def test_metric_meter_prints_value_and_average():
    meter = MetricMeter()
    meter.update({"loss": 3.0, "acc": torch.tensor(50.0)})
    meter.update({"loss": 2.0})
    meter.update(None)
    assert str(meter) == "loss 2.0000 (2.5000) acc 50.0000 (50.0000)"
    with pytest.raises(TypeError):
        meter.update(1.0)


def test_setup_logger_tees_and_keeps_an_earlier_log(tmp_path, monkeypatch):
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    utils.setup_logger(str(tmp_path))
    print("first")
    utils.setup_logger(str(tmp_path))
    print("second")
    utils.setup_logger(str(tmp_path))
    print("third")
    sys.stdout.close()
    assert sys.stdout is console
    print("after")
    assert console.getvalue() == "first\nsecond\nthird\nafter\n"
    logs = sorted(tmp_path.iterdir())
    assert len(logs) == 3 and all(log.name.startswith("log.txt") for log in logs)
    assert (tmp_path / "log.txt").read_text() == "first\n"
    assert sorted(log.read_text() for log in logs) == ["first\n", "second\n", "third\n"]


def test_setup_logger_without_output_changes_nothing():
    before = sys.stdout
    utils.setup_logger(None)
    assert sys.stdout is before


def _draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_zero_is_a_seed_and_a_negative_one_is_not():
    utils.set_random_seed(0)
    first = _draws()
    second = _draws()
    utils.set_random_seed(-1)
    third = _draws()
    utils.set_random_seed(0)
    assert _draws() == first
    assert _draws() == second
    assert _draws() == third
    with pytest.raises(ValueError, match="too large"):
        utils.set_random_seed(2**32)


def test_json_round_trip_is_atomic(tmp_path):
    path = tmp_path / "deep" / "a.json"
    utils.write_json({"a": [1, 2]}, str(path))
    assert utils.read_json(str(path)) == {"a": [1, 2]}
    with pytest.raises(TypeError):
        utils.write_json({"a": object()}, str(path))
    assert utils.read_json(str(path)) == {"a": [1, 2]}
    assert os.listdir(path.parent) == ["a.json"]


def test_small_helpers(tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    (tmp_path / ".hidden").touch()
    assert utils.listdir_nohidden(str(tmp_path), sort=True) == ["a", "b"]
    assert utils.tolist_if_not(1) == [1] and utils.tolist_if_not([1]) == [1]
    assert utils.check_isfile(str(tmp_path / "a"))
    with pytest.warns(UserWarning, match="no file at"):
        assert not utils.check_isfile(str(tmp_path / "c"))
    assert "torch:" in utils.collect_env_info()


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_unreadable_image_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    if content is None:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), "uint8")).save(buffer, "PNG")
        content = buffer.getvalue()[:2000]
    path.write_bytes(content)
    with pytest.raises(OSError, match="broken.png.*replace the file"):
        utils.read_image(str(path))
    with pytest.raises(FileNotFoundError, match="missing.png"):
        utils.read_image(str(tmp_path / "missing.png"))


def test_read_image_is_rgb(tmp_path):
    Image.new("RGBA", (3, 2), (10, 20, 30, 0)).save(tmp_path / "a.png")
    image = utils.read_image(str(tmp_path / "a.png"))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), (10, 20, 30))


def test_download_url(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(b"x" * 200_000)
    utils.download_url(source.as_uri(), str(tmp_path / "in" / "target.bin"))
    assert (tmp_path / "in" / "target.bin").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("promised", [10, None])
def test_broken_download_leaves_nothing(tmp_path, monkeypatch, promised):
    class Response(io.BytesIO):
        headers = {"Content-Length": str(promised)} if promised else {}

        def read(self, size=-1):
            if promised is None:
                raise OSError("connection reset")
            return super().read(size)

    monkeypatch.setattr(urllib.request, "urlopen", lambda url: Response(b"abc"))
    with pytest.raises(OSError, match="broke off after 3 of 10|connection reset.*fetch it by hand"):
        utils.download_url("https://example.org/a", str(tmp_path / "a"))
    assert urlparse("https://example.org/a").path == "/a" and os.listdir(tmp_path) == []


def _archive(path, names, link=None):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name)
            if link:
                info = zipfile.ZipInfo(link)
                info.external_attr = 0o120777 << 16
                archive.writestr(info, "/etc/passwd")
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                archive.addfile(info, io.BytesIO(name.encode()))
            if link:
                info = tarfile.TarInfo(link)
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])
def test_extract_archive(tmp_path, kind):
    path = tmp_path / f"data.{kind}"
    _archive(path, ["set/a.txt", "set/deep/b.txt"])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "own.txt").touch()
    utils.extract_archive(str(path), str(tmp_path))
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.txt"))
    assert files == ["set/a.txt", "set/deep/b.txt", "set/own.txt"]
    assert (tmp_path / "set" / "deep" / "b.txt").read_text() == "set/deep/b.txt"
    assert sorted(os.listdir(tmp_path)) == [f"data.{kind}", "set"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
@pytest.mark.parametrize(("names", "link"), [(["a", "../evil"], None), (["a", "/tmp/evil"], None), (["a"], "link")])
def test_unsafe_archive_is_refused_as_a_whole(tmp_path, kind, names, link):
    (tmp_path / "in").mkdir()
    path = tmp_path / f"data.{kind}"
    _archive(path, names, link)
    with pytest.raises(ValueError, match="nothing was extracted"):
        utils.extract_archive(str(path), str(tmp_path / "in"))
    assert os.listdir(tmp_path / "in") == [] and sorted(os.listdir(tmp_path)) == [path.name, "in"]


def test_damaged_or_unknown_archive(tmp_path):
    for name, error in (("a.zip", OSError), ("a.tar.gz", OSError), ("a.rar", ValueError)):
        (tmp_path / name).write_bytes(b"none of these")
        with pytest.raises(error, match=name):
            utils.extract_archive(str(tmp_path / name), str(tmp_path))
