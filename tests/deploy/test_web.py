"""The page of promptkd export --format web: Pillow's pixels, our answers, and no network."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from chromium import PROGRAM, Chromium
from PIL import Image
from served import picture, stored, tiny_model

from promptkd.deploy import export
from promptkd.deploy.opening import open_classifier
from promptkd.deploy.preprocessing import Preprocessing
from promptkd.deploy.web import page as pages
from promptkd.deploy.web.runtime import PACKAGE, VERSION, read_runtime, usual_folder
from promptkd.home import ROOT

chromium = pytest.mark.skipif(not PROGRAM, reason="no Chromium on this machine: apt-get install chromium")
# Drops a file on the page and waits for what it says of it.
DROP = """(async () => {
  const bytes = Uint8Array.from(atob("%s"), (one) => one.charCodeAt(0)), carried = new DataTransfer();
  carried.items.add(new File([bytes], "dropped"));
  const over = () => ["done", "refused", "failed"].includes(document.body.dataset.state);
  document.body.dataset.state = "asked";
  document.getElementById("zone").dispatchEvent(
    new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: carried }));
  for (let turn = 0; turn < 1000 && !over(); turn++) await new Promise((go) => setTimeout(go, 20));
  return [document.body.dataset.state, document.getElementById("status").textContent,
    [...document.querySelectorAll("#answer li")].map((row) =>
      [row.querySelector("span").textContent, Number(row.dataset.probability)])];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="session")
def runtime():
    """onnxruntime-web in its usual folder, fetched by npm where it is not there."""
    try:
        read_runtime()
    except ValueError:
        if not shutil.which("npm"):
            pytest.skip(f"no {PACKAGE} here, and no npm to get it")
        words = ["npm", "install", "--prefix", str(usual_folder()), f"{PACKAGE}@{VERSION}"]
        if subprocess.run(words, capture_output=True, timeout=120).returncode:
            pytest.skip(f"npm could not fetch {PACKAGE}")
    return read_runtime()


@chromium
def test_the_page_resizes_as_pillow_does_to_the_bit(browser, tmp_path):
    script = (ROOT / "promptkd/deploy/web/resampling.js").read_text()
    (tmp_path / "empty.html").write_text(f"<script>{script}</script>")
    browser.open(tmp_path / "empty.html", 500, 500)
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate([(40, 61), (31, 17), (24, 24), (7, 90), (200, 3), (24, 33), (65, 64)]):
        for interpolation in ("bicubic", "bilinear", "nearest"):
            size = (24, 24) if number % 2 else (20, 24)
            described = Preprocessing(size, 24, interpolation, (0.0,) * 3, (1.0,) * 3)
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            about = json.dumps(described.to_dict())
            values = np.asarray(image).ravel().tolist()
            found = browser.do(f"Array.from(modelPixels(new Uint8ClampedArray({values}), {width}, {height}, {about}))")
            assert found == described.pixels(image).ravel().tolist(), (width, height, interpolation)


@chromium
@pytest.mark.slow
def test_a_dropped_image_gets_our_answer(browser, runtime, clips, tmp_path, capsys):
    folder = tiny_model(tmp_path / "model", clips["student"])
    words = [str(folder), str(tmp_path / "page.html"), "--format", "web"]
    assert export.main(words) == 0 and "page.html: open it in a browser" in capsys.readouterr().out
    assert export.main(words) == 1 and "page.html is there already" in capsys.readouterr().err
    classifier = open_classifier(folder)
    browser.open(tmp_path / "page.html", 1280, 900)
    clear = picture(60)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")
    contents = [stored(picture(80, mode=mode), kind) for mode, kind in (("RGB", "JPEG"), ("L", "PNG"), ("P", "GIF"))]
    contents += [stored(clear), stored(picture(300, 1), "WEBP"), stored(picture(90), "JPEG", exif=turned)]
    for content in contents:
        state, _, answer = browser.do(DROP % base64.b64encode(content).decode())
        ours = classifier.predict(Image.open(io.BytesIO(content)))
        assert state == "done" and [name for name, _ in answer] == [name for name, _ in ours]
        assert [value for _, value in answer] == pytest.approx([value for _, value in ours], abs=1e-4)
    for content in (b"no image", stored(picture())[:90], b"<svg></svg>"):
        state, message, answer = browser.do(DROP % base64.b64encode(content).decode())
        assert (state, answer) == ("refused", []) and "dropped was not classified: it is no image" in message
    assert browser.do(DROP % base64.b64encode(contents[0]).decode())[0] == "done"
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith(("data:", "blob:"))] == [
        (tmp_path / "page.html").as_uri()
    ]
    for width in (1280, 390):
        browser.open(tmp_path / "page.html", width, 844, dark=True)
        browser.do(DROP % base64.b64encode(contents[0]).decode())
        assert browser.do("document.documentElement.scrollWidth") == width


def test_a_runtime_that_is_not_there_is_one_line(clips, tmp_path, capsys):
    def error(*words):
        assert export.main([str(tmp_path / "model"), "--format", "web", *words]) == 1
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1 and "npm install --prefix" in shown
        return shown

    package = tmp_path / "package"
    assert f"{PACKAGE} is not in {package}" in error("--runtime", str(package))
    (package / "dist").mkdir(parents=True)
    (package / "dist" / "ort.wasm.bundle.min.mjs").write_text("")
    (package / "package.json").write_text('{"name": "left-pad", "version": "1"}')
    assert "is not onnxruntime-web" in error("--runtime", str(package))
    (package / "package.json").write_text(json.dumps({"name": PACKAGE, "version": VERSION}))
    assert "No such file" in error("--runtime", str(package))
    (package / "dist" / "ort-wasm-simd-threaded.wasm").write_text("<html>")
    assert "is no WebAssembly" in error("--runtime", str(tmp_path))


def test_names_of_classes_cannot_leave_their_place():
    from promptkd.deploy.onnx_file import OnnxDescription
    from promptkd.deploy.web.runtime import Runtime

    evil = "</script><script>alert(1)</script><!--"
    described = OnnxDescription(
        (evil, "b"), Preprocessing((8, 8), 8, "bicubic", (0.0,) * 3, (1.0,) * 3), False, None, {"dataset": evil}
    )
    text = pages.page(b"model", described, Runtime(evil, b"", b"\0asm"), evil).decode()
    assert "alert(1)</script>" not in text and text.count("<!--") == 1
    assert "connect-src" not in text and "default-src 'none'" in text  # what is not named is not allowed
    assert "Copyright (c) Microsoft Corporation" in text
