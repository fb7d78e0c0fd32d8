"""onnxruntime-web, which computes the page's model: a package of npm's, in a folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptkd import bounded

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"  # that the page was tested with
_SCRIPT = "ort.wasm.bundle.min.mjs"  # for the CPU, in one file with what loads the other
_WASM = "ort-wasm-simd-threaded.wasm"
_LARGEST = 2**26  # bytes of one of the two
NOTICE = """ONNX Runtime Web (https://github.com/microsoft/onnxruntime), MIT License
Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE."""


@dataclass(frozen=True)
class Runtime:
    """The runtime's files.

    Attributes:
        version: of the package.
        script: an ES module.
        wasm: what it loads.
    """

    version: str
    script: bytes
    wasm: bytes


def usual_folder() -> Path:
    """Where the runtime is looked for when no folder is given, and where the advice puts it."""
    return Path.home() / ".cache" / "promptkd" / "web"


def advice() -> str:
    """What to run where it is missing."""
    return f"npm install --prefix {usual_folder()} {PACKAGE}@{VERSION}, or name its folder with --runtime"


def read_runtime(folder: Path | None = None) -> Runtime:
    """Reads the runtime from the package's folder, or one that has it in node_modules.

    Args:
        folder: None for `usual_folder`.

    Raises:
        ValueError: it is not there, or not whole; the message says what to run.
    """
    above = folder or usual_folder()
    places = (above, above / "node_modules" / PACKAGE, above / "package")  # the last is what `npm pack` packs
    package = next((place for place in places if (place / "dist" / _SCRIPT).is_file()), None)
    if package is None:
        raise ValueError(f"{PACKAGE} is not in {bounded.named(above)}: {advice()}")
    try:
        about = bounded.read_json(package / "package.json")
        version = about.get("version") if isinstance(about, dict) else None
        if about.get("name") != PACKAGE or not isinstance(version, str):
            raise ValueError(f"{bounded.named(package)} is not {PACKAGE}")
        script, wasm = (bounded.read_bytes(package / "dist" / name, _LARGEST) for name in (_SCRIPT, _WASM))
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{PACKAGE} cannot be read ({bounded.clipped(error)}): {advice()}") from error
    if not wasm.startswith(b"\0asm"):
        raise ValueError(f"{bounded.named(package / 'dist' / _WASM)} is no WebAssembly: {advice()}")
    return Runtime(version, script, wasm)
