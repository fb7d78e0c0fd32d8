"""Downloads from a server that misbehaves, and archives that are hostile."""

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trees import dataset_cfg, write_eurosat

from datasets.eurosat import EuroSAT
from promptkd.data import command as data
from promptkd.data.download import archives
from promptkd.data.download import fetch as downloads
from promptkd.data.download.archives import unpack
from promptkd.data.download.fetch import fetch
from promptkd.data.download.sources import PARTS, Part, Source

# The server: /<behaviour>/<file>.


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


def test_half_extracted_images_are_completed(server: Server, tmp_path: Path, monkeypatch, capsys):
    write_eurosat(tmp_path)
    EuroSAT(dataset_cfg(tmp_path))
    folder = tmp_path / "eurosat"
    split = (folder / "split_built_EuroSAT.json").read_bytes()
    (folder / "split_built_EuroSAT.json").unlink()
    files = {f"2750/{p.parent.name}/{p.name}": p.read_bytes() for p in folder.rglob("*.jpg")}
    server.files |= {"eurosat.zip": zipped(**files), "split.json": split}
    part_of(
        EuroSAT,
        Part((), (Source(server.url("fine", "eurosat.zip"), "eurosat"),)),
        Part(
            ("split_zhou_EuroSAT.json",), (Source(server.url("fine", "split.json"), f"eurosat/{EuroSAT.split_file}"),)
        ),
        monkeypatch=monkeypatch,
    )
    for path in sorted((folder / "2750" / "River").iterdir())[4:]:
        path.unlink()
    # which images are missing is known once the split is there
    assert data.main(["download", "eurosat", "--root", str(tmp_path)]) == 0
    assert "images of EuroSAT: 6 files added" in capsys.readouterr().out
    assert len(EuroSAT(dataset_cfg(tmp_path)).full.test) == 30
    assert data.main(["download", "eurosat", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("there already, left as it is") == 2
    (folder / EuroSAT.split_file).unlink()
    (folder / "2750" / "River" / "River_1.jpg").unlink()
    assert data.main(["download", "eurosat", "--root", str(tmp_path), "--again"]) == 0
    assert "images of EuroSAT: 1 files added" in capsys.readouterr().out


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
    "a long name": (lambda: tarred(("x" * 300, b"")), "has a name that this disk cannot hold: 'xxx"),
    "a deep path": (lambda: tarred(("x/" * 900 + "y" * 2600, b"")), "has a name that this disk cannot hold: 'x/x"),
    "a file called .": (lambda: tarred((".", b"1")), "has a file without a name"),
    "a file called nothing": (lambda: tarred(("", b"1")), "has a file without a name"),
    "a flipped byte": (lambda: zipped(a=b"content of a").replace(b"content", b"contenT"), "is damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive(case: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make, message = HOSTILE[case]
    monkeypatch.setattr(archives, "MAX_EXTRA", 100_000)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    server.files["a.zip"] = make()
    root = tmp_path / "root"
    with pytest.raises(ValueError, match=message) as error:
        fetch(Source(server.url("fine", "a.zip"), "to"), root)
    assert "\n" not in str(error.value)
    left = [path for path in tmp_path.rglob("*") if path.name != ".downloads" and path != root]
    assert left == [], "nothing of it stays"


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_damage_after_the_last_file(kind: str, tmp_path: Path):
    """A flipped byte of the checksum at the end: tarfile stops reading before it."""
    plain, archive = tmp_path / "a.tar", tmp_path / f"a.tar.{kind}"
    with tarfile.open(plain, "w") as file:
        info = tarfile.TarInfo("a.txt")
        info.size = 9000
        file.addfile(info, io.BytesIO(os.urandom(9000)))
    pack = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[kind]
    whole = pack(plain.read_bytes())
    archive.write_bytes(whole)
    unpack(archive, tmp_path / "whole")
    for place in (len(whole) // 2, len(whole) - 7):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="is damaged or not an archive"):
            unpack(archive, tmp_path / f"damaged {place}")


def test_folder_on_another_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Renames across disks fail; files are copied then, and those that are there stay."""

    def rename(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(self))

    server.files["a.zip"] = zipped(**{"x/old.txt": b"new", "x/deep/new.txt": b"new", "y.txt": b"new"})
    (tmp_path / "disk" / "x").mkdir(parents=True)
    (tmp_path / "disk" / "x" / "old.txt").write_text("mine")
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "root" / "to")
    monkeypatch.setattr(Path, "rename", rename)
    assert fetch(Source(server.url("fine", "a.zip"), "to"), tmp_path / "root") == 2
    placed = {
        path.relative_to(tmp_path / "disk").as_posix(): path.read_text() for path in tmp_path.glob("disk/**/*.txt")
    }
    assert placed == {"x/old.txt": "mine", "x/deep/new.txt": "new", "y.txt": "new"}
    assert not list((tmp_path / "disk").glob(".*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("split_zhou_EuroSAT.json", b'{"error": "quota"}', "has no list train, val, test"),
        ("split_zhou_EuroSAT.json", b"", "is empty"),
        ("cat_to_name.json", b'{"error": "quota"}', "is not {"),
        ("other.json", b"not found", "is not JSON"),
        ("imagelabels.mat", b"not found", "is no MATLAB file"),
        ("classnames.txt", b"not found", "a line is not a wnid and a name: 'not found'"),
    ],
)
def test_wrong_single_file_is_not_put_into_place(name: str, content: bytes, message: str, server, tmp_path: Path):
    server.files["file"] = content
    with pytest.raises(ValueError, match=message):
        fetch(Source(server.url("fine", "file"), f"to/{name}"), tmp_path)
    assert not (tmp_path / "to").exists() and not list((tmp_path / ".downloads").iterdir())


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
