"""A server in a thread of the test, over a tiny model, and what clients send to it."""

from __future__ import annotations

import base64
import http.client
import io
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import CLASSES
from PIL import Image

import promptkd
from promptkd.deploy.serving.app import make_app
from promptkd.deploy.serving.limits import Limits
from promptkd.deploy.serving.server import listening, server
from promptkd.deploy.serving.service import Service


def tiny_model(folder: Path, clip: str) -> Path:
    """A saved zero-shot model over the five CLASSES; returns its folder."""
    precision = promptkd.Precision.choose("fp32", torch.device("cpu"))
    model = promptkd.PromptedClip(promptkd.load_clip(clip), promptkd.PromptSpec(), precision, about={"backbone": clip})
    model.save(folder, CLASSES)
    return folder


def picture(side: int = 40, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """An image of soft random colours, upright."""
    fields = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    return Image.fromarray(fields).resize((side, side + 6), Image.Resampling.BICUBIC).convert(mode)


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as a file's content."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many grey pixels, all black, in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def form(content: bytes, name: str = "image", boundary: str = "x y") -> tuple[bytes, str]:
    """A form with a text and a file: its body and its content type."""
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhere\r\n--{boundary}\r\n'.encode()
    body += f'Content-Disposition: form-data; name="{name}"; filename="../../etc/passwd"\r\n'.encode()
    body += b"Content-Type: image/png\r\n\r\n" + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f'multipart/form-data; boundary="{boundary}"'


def as_json(content: bytes) -> tuple[bytes, str]:
    """An image's content as a JSON body, and its content type."""
    return json.dumps({"image": base64.b64encode(content).decode()}).encode(), "application/json"


def ask(
    port: int, body: bytes = b"", kind: str = "image/png", path: str = "/predict", method: str = "POST"
) -> tuple[int, Any]:
    """The status and the JSON, or text, of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        content = answer.read().decode()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(content) if is_json else content
    finally:
        connection.close()


@contextmanager
def serving(classifier: Any, limits: Limits | None = None) -> Iterator[int]:
    """A server in another thread; gives its port."""
    limits = limits or Limits()
    with listening("127.0.0.1", 0) as bound:
        one = server(make_app(Service(classifier, limits)), limits)
        thread = threading.Thread(target=one.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield bound.getsockname()[1]
        finally:
            one.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
