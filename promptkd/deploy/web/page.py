"""One HTML file that classifies images: model, runtime and page, which open from a disk and ask no network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import string
from collections.abc import Iterator
from importlib.resources import files as package_files
from typing import TYPE_CHECKING

from promptkd.deploy.web.runtime import NOTICE, Runtime

if TYPE_CHECKING:
    from promptkd.deploy.onnx_file import OnnxDescription

LARGEST = 2**30  # bytes of a model; browsers hold the page, its text and its bytes at once
_PART = 3 * 2**24  # bytes that become one element's text: browsers hold no text of above half a gigabyte


def page(model: bytes, description: OnnxDescription, runtime: Runtime, title: str) -> bytes:
    """The page.

    Args:
        model: content of an .onnx file of fixed input size; "images" (B, H, W, 3) uint8 -> "probabilities" (B, C).
        description: what the file says of itself.
        runtime: that computes it.
        title: of the page.

    Raises:
        ValueError: the model is too large for a page, or takes images of any size.
    """
    if len(model) > LARGEST:
        raise ValueError(
            f"the model has {len(model) / 1e9:.1f} GB, a page holds {LARGEST / 1e9:.1f}: give --int8 or --fp16"
        )
    if description.dynamic_size:
        raise ValueError("the page resizes images itself: leave --dynamic-size out")
    style, script = _asset("page.css"), _asset("resampling.js") + _asset("page.js")
    names = ["backbone", "trainer", "dataset"]
    about = {
        "classes": list(description.classnames),
        "preprocessing": description.preprocessing.to_dict(),
        "input": "images",
        "output": "probabilities",
    }
    parts = {
        "runtime": gzip.compress(runtime.script, mtime=0),
        "wasm": gzip.compress(runtime.wasm, mtime=0),
        "model": model,
    }
    text = string.Template(_asset("page.html")).substitute(
        notice=NOTICE,
        policy=_policy(style, script),
        title=html.escape(title),
        style=style,
        summary=html.escape(", ".join(description.about[name] for name in names if description.about.get(name))),
        count=len(description.classnames),
        classes="".join(f"<li>{html.escape(name)}</li>" for name in description.classnames),
        version=html.escape(runtime.version),
        about=json.dumps(about).replace("<", "\\u003c"),
        parts="\n".join(line for name, content in parts.items() for line in _elements(name, content)),
        script=script,
    )
    return text.encode("utf-8")


def _asset(name: str) -> str:
    return (package_files("promptkd.deploy.web") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """What the page may do: run its script and the runtime, and ask nobody for anything."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    sources = {
        "default-src": "'none'",
        "script-src": f"{hashed(script)} blob: 'wasm-unsafe-eval'",
        "style-src": hashed(style),
        "img-src": "blob: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in sources.items())


def _elements(name: str, content: bytes) -> Iterator[str]:
    """Bytes as base64 in elements that a browser does not look into; whole threes, so that they join again."""
    for start in range(0, len(content), _PART):
        text = base64.b64encode(content[start : start + _PART]).decode("ascii")
        yield f'<script type="text/plain" data-part="{name}">{text}</script>'
