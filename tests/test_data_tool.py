"""tools/data.py: check in every state of a data set, download from a server that misbehaves, few-shot lists."""

import hashlib
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trees import WRITERS, dataset_cfg, write_class_tree, write_dtd, write_eurosat, write_image, write_json

from datasets.dtd import DescribableTextures
from datasets.eurosat import EuroSAT
from tools import data, sources
from tools import download as downloads
from tools.download import fetch, unpack
from tools.sources import PARTS, Part, Source


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, dict]:
    """Exit code, screen and JSON report of a check."""
    command = ["check", *map(str, arguments)]
    code = data.main(command)
    shown = capsys.readouterr().out
    assert data.main([*command, "--json"]) == code
    return code, shown, json.loads(capsys.readouterr().out)[0]


def test_right(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    write_eurosat(tmp_path)
    EuroSAT(dataset_cfg(tmp_path))
    folder = tmp_path / "eurosat"
    (folder / "split_built_EuroSAT.json").rename(folder / "split_zhou_EuroSAT.json")
    monkeypatch.setattr(EuroSAT, "counts", (50, 20, 30))
    capsys.readouterr()
    code, shown, report = check(capsys, "eurosat", "--root", tmp_path, "--decode")
    assert code == 0 and shown.startswith("EuroSAT: ok\n") and len(shown.splitlines()) == 5
    assert "train 50, val 20, test 30" in shown and "10: Annual Crop Land, Forest" in shown
    assert report["whole"] and report["split"] == "split_zhou_EuroSAT.json" and report["get"] == []


@pytest.mark.parametrize("name", WRITERS)
def test_every_small_tree_would_start(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    WRITERS[name](tmp_path)
    code, shown, report = check(capsys, name, "--root", tmp_path)
    assert code == 0 and f"{name}: would start" in shown and "than published: a subset, or half extracted" in shown
    assert not report["whole"] and len(shown.splitlines()) <= 24


def test_empty_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, shown, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and "would NOT start" in shown
    assert "no folder dtd/images with images in it under" in report["problems"][0]
    assert "dtd-r1.0.1.tar.gz -> ." in report["get"][0] and "split_zhou_DescribableTextures.json" in report["get"][1]
    assert f"python tools/data.py download DescribableTextures --root {tmp_path}" in shown
    code, shown, _ = check(capsys, "dtd", "--root", tmp_path / "none")
    assert code == 1 and "is not a folder" in shown


def test_images_in_two_splits_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    items = [("banded/banded_1.jpg", 0, "banded"), ("zigzagged/zigzagged_1.jpg", 1, "zigzagged")]
    split = {"train": items, "val": items[:1], "test": items}
    write_json(split, tmp_path / "dtd" / "split_zhou_DescribableTextures.json")
    code, shown, _ = check(capsys, "dtd", "--root", tmp_path)
    assert code == 0 and "3 images are in train and in val or test" in shown


def test_half_extracted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    DescribableTextures(dataset_cfg(tmp_path))
    (tmp_path / "dtd" / "split_built_DescribableTextures.json").rename(
        tmp_path / "dtd" / "split_zhou_DescribableTextures.json"
    )
    for path in sorted((tmp_path / "dtd" / "images").glob("*/*.jpg"))[10:]:
        path.unlink()
    code, shown, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and "20 of 30 images are missing" in report["problems"]
    assert report["missing"] == 20 and len(report["missing_first"]) == 10 and "and 10 more" in shown


def test_wrong_split_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    split = tmp_path / "dtd" / "split_zhou_DescribableTextures.json"
    parts = ("train", "val", "test")
    write_json({part: [[f"River/{part}.jpg", 0, "River"], [f"Sea/{part}.jpg", 1, "Sea"]] for part in parts}, split)
    code, _, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and report["problems"] == ["6 of 6 images are missing"]
    assert report["missing_first"][0] == "River/test.jpg"
    split.write_text("<html>quota exceeded</html>")
    code, _, report = check(capsys, "dtd", "--root", tmp_path)
    assert code == 1 and "is not JSON" in report["problems"][0]


def test_corrupt_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_eurosat(tmp_path)
    folder = tmp_path / "eurosat" / "2750" / "Forest"
    (folder / "Forest_1.jpg").write_bytes((folder / "Forest_1.jpg").read_bytes()[:200])
    (folder / "Forest_2.jpg").write_bytes(b"")
    assert check(capsys, "EuroSAT", "--root", tmp_path)[0] == 0
    code, shown, report = check(capsys, "EuroSAT", "--root", tmp_path, "--decode")
    assert code == 1 and "2 images do not decode; replace them, or set DATASET.SKIP_BAD_IMAGES True" in shown
    assert {Path(path).name for path in report["undecodable"]} == {"Forest_1.jpg", "Forest_2.jpg"}
    assert "Forest_2.jpg (empty file)" in shown


def test_unreadable_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    write_eurosat(tmp_path)
    real = os.scandir

    def scandir(path: str = "."):
        if Path(path).name == "Forest":  # chmod does not stop root
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", lambda path=".": [entry.name for entry in scandir(path)])
    code, _, report = check(capsys, "eurosat", "--root", tmp_path)
    assert code == 1 and "Permission denied" in report["problems"][0] and "Forest" in report["problems"][0]
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, report = check(capsys, "eurosat", "--root", tmp_path)
    assert code == 1 and "2750 cannot be read; see its permissions" in report["problems"][0]


def test_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_dtd(tmp_path)
    assert data.main(["check", "all", "--root", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(PARTS) == 17
    assert sum("would NOT start" in line for line in lines) == 14


def test_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_class_tree(tmp_path / "train", {"cat": 3, "dog": 2})
    code, shown, report = check(capsys, "Folder", "--root", tmp_path)
    assert code == 0 and shown.startswith("Folder: ok") and report["counts"] == {"train": 5, "val": 0, "test": 0}
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    code, _, report = check(capsys, "unlabeled", "--root", tmp_path, "--classnames", "names.txt")
    assert code == 0 and report["classnames"] == ["cat", "dog"]
    (tmp_path / "train" / "cow").mkdir()
    code, _, report = check(capsys, "folder", "--root", tmp_path)
    assert code == 1 and "cow has no images" in report["problems"][0]


def test_names(tmp_path: Path):
    for name in ("oxford_flowers", "OxfordFlowers", "OXFORDFLOWERS"):
        assert data.resolve(name) == "OxfordFlowers"
    assert data.resolve("caltech-101") == data.resolve("caltech101") == "Caltech101"
    with pytest.raises(ValueError, match="no data set is called 'eurosta'; did you mean EuroSAT?"):
        data.main(["check", "eurosta", "--root", str(tmp_path)])


def test_command_line(tmp_path: Path):
    """As a script, from another directory: one line and exit code 1."""
    script = Path(data.__file__)
    run = subprocess.run(
        [sys.executable, script, "fewshot", "dtd", "--root", tmp_path, "--shots", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 1 and run.stderr.startswith("error: DescribableTextures: no folder dtd/images")
    assert len(run.stderr.splitlines()) == 1


def test_fewshot(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    write_dtd(tmp_path)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "lists" / "dtd.json"
    assert data.main(["fewshot", "dtd", "--root", str(tmp_path), "--shots", "2", "--seed", "3", "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    dataset = DescribableTextures(dataset_cfg(tmp_path, shots=2, seed=3))
    paths = [Path(d.impath).relative_to(dataset.layout.images).as_posix() for d in dataset.train_x]
    assert [file for file, _, _ in content["train"]] == paths
    assert Counter(name for _, _, name in content["val"]) == dict.fromkeys(dataset.classnames, 2)
    assert content["sha256"] == dataset.fewshot.sha256 and content["split_sha256"] == dataset.split_sha256
    assert data.main(["fewshot", "dtd", "--root", str(tmp_path), "--shots", "1"]) == 0
    assert (tmp_path / "DescribableTextures_shots1_seed1.json").is_file()
    with pytest.raises(ValueError, match="no few-shot list for 0 shots"):
        data.main(["fewshot", "dtd", "--root", str(tmp_path), "--shots", "0"])


# Download. The server: /<behaviour>/<file>.


class Server(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, bytes]
    requests: list[tuple[str, str | None]]

    def url(self, behaviour: str, file: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{file}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        _, behaviour, file = self.path.split("/")
        asked = self.headers.get("Range")
        self.server.requests.append((behaviour, asked))
        number = sum(1 for name, _ in self.server.requests if name == behaviour)
        if behaviour == "gone":
            return self.send_error(404)
        if behaviour == "busy" and number < 3:
            return self.send_error(503)
        content = self.server.files[file]
        if behaviour == "page":
            content = b"  <!DOCTYPE html><title>Sign in</title>"
        if behaviour == "changes":
            content = bytes(reversed(content)) if number > 1 else content
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = 0
        if asked and behaviour != "no_range" and self.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if behaviour != "untagged":
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if (behaviour in ("cut", "stall", "changes") and number < 3) or (behaviour in ("no_range",) and number < 2):
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            if behaviour == "stall":
                self.server.released.wait(10)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif behaviour == "always_cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    monkeypatch.setattr(downloads, "TIMEOUT", 5.0)
    running = Server(("127.0.0.1", 0), Handler)
    running.files, running.requests, running.released = {}, [], threading.Event()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.released.set()
    running.shutdown()
    running.server_close()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = os.urandom(100_000)


@pytest.mark.parametrize("behaviour", ["fine", "untagged", "cut", "stall", "no_range", "busy", "changes"])
def test_download_arrives_whole(behaviour: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if behaviour == "stall":
        monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    server.files["a.bin"] = CONTENT
    path = tmp_path / "a.bin"
    downloads.download(server.url(behaviour, "a.bin"), path)
    assert path.read_bytes() == (bytes(reversed(CONTENT)) if behaviour == "changes" else CONTENT)
    assert list(tmp_path.iterdir()) == [path]
    ranges = [asked for _, asked in server.requests]
    expected = {
        "cut": [None, "bytes=50000-", "bytes=75000-"],
        "stall": [None, "bytes=50000-", "bytes=75000-"],
        "no_range": [None, "bytes=50000-"],
        "changes": [None, "bytes=50000-", "bytes=50000-"],
        "busy": [None] * 3,
    }
    assert ranges == expected.get(behaviour, [None])


def test_download_goes_on_in_a_later_run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server.files["a.bin"] = CONTENT
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    with pytest.raises(OSError, match="no byte in 1 attempts .the connection was cut.; run it again to go on"):
        downloads.download(server.url("cut", "a.bin"), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists() and (tmp_path / "a.bin.part").stat().st_size == 50_000
    monkeypatch.setattr(downloads, "ATTEMPTS", 5)
    downloads.download(server.url("cut", "a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT and server.requests[1][1] == "bytes=50000-"
    # all of it came, and the run ended before it was renamed
    (tmp_path / "b.bin.part").write_bytes(CONTENT)
    (tmp_path / "b.bin.state").write_text(f'"{hashlib.md5(CONTENT).hexdigest()}"')
    downloads.download(server.url("fine", "a.bin"), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_download_that_fails(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server.files["a.bin"] = CONTENT
    with pytest.raises(OSError, match="the server says 404"):
        downloads.download(server.url("gone", "a.bin"), tmp_path / "a.bin")
    assert len(server.requests) == 1, "what is gone is not asked for again"
    with pytest.raises(OSError, match="no byte in 5 attempts"):
        downloads.download(server.url("always_cut", "a.bin"), tmp_path / "a.bin")
    with pytest.raises(OSError, match="no byte in 5 attempts .*refused"):
        downloads.download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin")
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match="100,000 bytes to come and 10 free"):
        downloads.download(server.url("fine", "a.bin"), tmp_path / "a.bin")


def part_of(kind: type, *parts: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, kind.__name__, parts)


def test_sources_are_tried_in_order(server: Server, tmp_path: Path, monkeypatch, capsys):
    write_eurosat(tmp_path / "made")
    files = {p.relative_to(tmp_path / "made").as_posix(): p.read_bytes() for p in (tmp_path / "made").rglob("*.jpg")}
    server.files |= {"eurosat.zip": zipped(**files), "split.json": b'{"train": []}'}
    md5, other = (hashlib.md5(server.files["eurosat.zip"][::step]).hexdigest() for step in (1, -1))
    images = [server.url(b, "eurosat.zip") for b in ("gone", "page", "changes", "cut")]
    part_of(
        EuroSAT,
        Part((), tuple(Source(url, "eurosat", md5=md5 if "page" not in url else "") for url in images), "94 MB"),
        Part(("split_zhou_EuroSAT.json",), (Source(server.url("gone", "split.json"), "eurosat/split.json"),), "a note"),
        monkeypatch=monkeypatch,
    )
    root = tmp_path / "new root"
    assert data.main(["download", "eurosat", "--root", str(root)]) == 1
    out = capsys.readouterr().out
    assert "the server says 404" in out and "is a web page and not the file" in out
    assert f"is not the expected file: md5 {other}, not {md5}" in out
    assert "images of EuroSAT: 100 files added" in out
    assert "to be fetched by hand: split_zhou_EuroSAT.json (a note)" in out
    assert len(EuroSAT(dataset_cfg(root)).full.test) == 30
    assert not (root / ".downloads").exists()
    requests = len(server.requests)
    assert data.main(["download", "eurosat", "--root", str(root)]) == 1
    assert "images of EuroSAT: there already, left as it is" in capsys.readouterr().out
    assert len(server.requests) == requests + 1


def test_files_that_are_there_stay(server: Server, tmp_path: Path):
    server.files["a.zip"] = zipped(**{"x/old.txt": b"new", "x/deep/new.txt": b"new", "y.txt": b"new"})
    server.files["one.json"] = b"{}"
    (tmp_path / "to" / "x").mkdir(parents=True)
    (tmp_path / "to" / "x" / "old.txt").write_text("mine")
    assert fetch(Source(server.url("fine", "a.zip"), "to"), tmp_path) == 2
    assert (tmp_path / "to" / "x" / "old.txt").read_text() == "mine"
    assert (tmp_path / "to" / "x" / "deep" / "new.txt").read_text() == "new"
    for expected in (1, 0):
        assert fetch(Source(server.url("fine", "one.json"), "to/sub/one.json"), tmp_path) == expected
    assert fetch(Source(server.url("fine", "a.zip"), "kept"), tmp_path, keep=True) == 3
    assert len(list((tmp_path / ".downloads").iterdir())) == 1
    assert not list(tmp_path.glob(".unpack-*"))


def test_archive_in_an_archive(server: Server, tmp_path: Path):
    inner = tarred(("101_ObjectCategories/ant/1.jpg", b"image"))
    server.files["outer.zip"] = zipped(**{"caltech-101/inner.tar.gz": inner, "caltech-101/show.m": b"code"})
    source = Source(server.url("fine", "outer.zip"), "caltech-101", inner="caltech-101/inner.tar.gz")
    assert fetch(source, tmp_path) == 1
    assert (tmp_path / "caltech-101" / "101_ObjectCategories" / "ant" / "1.jpg").read_bytes() == b"image"


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def zip_twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    return buffer.getvalue()


HOSTILE = {
    "up in a zip": (lambda: zipped(**{"ok.txt": b"", "../evil.txt": b""}), "leaves its folder: ../evil.txt"),
    "up in a tar": (lambda: tarred(("a/../../evil.txt", b"")), "leaves its folder"),
    "absolute": (lambda: tarred(("/tmp/evil.txt", b"")), "leaves its folder"),
    "drive": (lambda: zipped(**{"C:/evil.txt": b""}), "leaves its folder"),
    "backslashes": (lambda: zipped(**{"..\\evil.txt": b""}), "leaves its folder"),
    "symbolic link": (lambda: tarred((link("a", "/etc", tarfile.SYMTYPE), b"")), "link or device: a"),
    "hard link": (lambda: tarred((link("a", "b", tarfile.LNKTYPE), b"")), "link or device: a"),
    "device": (lambda: tarred((link("a", "", tarfile.CHRTYPE), b"")), "link or device: a"),
    "link in a zip": (zip_link, "link or device: link"),
    "a name twice": (zip_twice, "has a twice"),
    "a file as folder": (lambda: tarred(("a", b"1"), ("a/b", b"2")), "has .* twice"),
    "a bomb": (lambda: tarred(("zeros", bytes(2_000_000))), "unpacks to more than 20 times its size"),
    "too many": (lambda: zipped(**{f"{i}": b"" for i in range(30)}), "more than 20 members"),
    "cut off": (lambda: tarred(("a", os.urandom(9000)))[:-4000], "is damaged or not an archive"),
    "no archive": (lambda: b"PK but no zip", "is damaged or not an archive"),
    "a flipped byte": (lambda: zipped(a=b"content of a").replace(b"content", b"contenT"), "is damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive(case: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make, message = HOSTILE[case]
    monkeypatch.setattr(downloads, "MAX_EXTRA", 100_000)
    monkeypatch.setattr(downloads, "MAX_MEMBERS", 20)
    server.files["a.zip"] = make()
    root = tmp_path / "root"
    with pytest.raises(ValueError, match=message) as error:
        fetch(Source(server.url("fine", "a.zip"), "to"), root)
    assert "\n" not in str(error.value)
    left = [path for path in tmp_path.rglob("*") if path.name != ".downloads" and path != root]
    assert left == [], "nothing of it stays"


def test_unpack_keeps_folders_and_modes_of_files(tmp_path: Path):
    (tmp_path / "a.tar.gz").write_bytes(tarred(("./a/b/c.txt", b"text"), (link("./empty", "", tarfile.DIRTYPE), b"")))
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b" / "c.txt").read_bytes() == b"text" and (tmp_path / "out" / "empty").is_dir()


def test_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import gdown

    calls = []

    def give(id: str, output: str, resume: bool) -> str | None:
        calls.append((id, resume))
        if id == "blocked":
            raise RuntimeError("Too many users have viewed or downloaded this file recently.\nTry again later.")
        Path(output).write_bytes(b'{"train": [], "val": [], "test": []}')
        return output

    monkeypatch.setattr(gdown, "download", give)
    assert fetch(Source("gdrive:some-id", "d/split.json"), tmp_path) == 1 and calls == [("some-id", True)]
    assert json.loads((tmp_path / "d" / "split.json").read_text())["val"] == []
    with pytest.raises(OSError, match="Google Drive: Too many users") as error:
        fetch(Source("gdrive:blocked", "d/other.json"), tmp_path)
    assert "\n" not in str(error.value)


def test_sources_name_known_places():
    assert set(PARTS) == set(WRITERS)
    for name, parts in PARTS.items():
        assert parts[0].present == (), f"{name}: the images come first"
        for part in parts:
            assert part.sources or part.note
            for source in part.sources:
                assert source.url.startswith(("https://", "http://", "gdrive:")), source
                assert len(source.md5) in (0, 32) and len(source.sha256) in (0, 64)
    assert sources.PARTS["EuroSAT"][0].sources[0].url.startswith("https://madm.dfki.de/"), "the authors' own is first"


def test_images_only_are_counted_as_present(tmp_path: Path):
    part = PARTS["EuroSAT"][0]
    (tmp_path / "eurosat").mkdir()
    assert not data.is_present(part, EuroSAT, tmp_path)
    write_image(tmp_path / "EuroSAT" / "2750" / "River" / "1.jpg")
    assert data.is_present(part, EuroSAT, tmp_path)
    assert not data.is_present(PARTS["EuroSAT"][1], EuroSAT, tmp_path)
    write_json({}, tmp_path / "eurosat" / "split_zhou_EuroSAT.json")
    assert data.is_present(PARTS["EuroSAT"][1], EuroSAT, tmp_path)
