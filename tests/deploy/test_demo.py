"""The page of promptkd demo: an image that is dropped in headless Chromium gets the run's answer, offline."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
from io import BytesIO
from urllib.parse import quote

import pytest
from chromium import PROGRAM, Chromium
from conftest import CLASSES
from PIL import Image
from served import picture, stored, tiny_model

from promptkd.deploy.demonstration import command
from promptkd.deploy.demonstration.answers import Answers
from promptkd.deploy.opening import open_classifier
from promptkd.deploy.rejection import Rejection
from promptkd.deploy.serving.limits import Limits, RefusalError
from promptkd.home import command as words_of

FUNCTIONS = """
function until(test) {
  return new Promise((go) => {
    const end = Date.now() + 30000;
    (function look() { const one = test(); one || Date.now() > end ? go(one) : setTimeout(look, 25); })();
  });
}
const shown = () => document.querySelector("#answer")?.innerText ?? "";
async function dropped(content) {
  const buttons = () => [...document.querySelectorAll("#image button")];
  const zone = await until(() => buttons().find((one) => /Drop/.test(one.innerText)));
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
  zone.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: carried }));
  await until(() => /%/.test(shown()));
  return shown();
}
async function chosen(names) {
  if (!document.querySelector("#classes textarea")) document.querySelector("#editing button").click();
  const field = await until(() => document.querySelector("#classes textarea"));
  field.value = names; field.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((go) => setTimeout(go, 300));
  const message = () => document.querySelector("#message .md")?.innerText.trim();
  const before = await until(message);  // the page shows the number of classes once it is whole
  document.querySelector("#choose").click();
  return until(() => message() !== before && message());
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clips):
    return tiny_model(tmp_path_factory.mktemp("demo") / "model", clips["student"])


def test_answers_are_the_runs_among_the_classes_of_each_page(folder, tmp_path):
    classifier = open_classifier(folder)
    answers = Answers(classifier, str(folder), Limits(size=20_000, pixels=50_000))
    path = tmp_path / "picture"
    path.write_bytes(stored(picture()))
    whole = dict(open_classifier(folder).predict(picture(), 5))

    def top(names):
        return dict(answers.top(path, names).top)

    assert top(CLASSES) == pytest.approx(whole)
    few = answers.check([" River ", "", "Forest"])
    assert few == ("River", "Forest")
    part = top(few)
    assert sum(part.values()) == pytest.approx(1)
    assert part["River"] / part["Forest"] == pytest.approx(whole["River"] / whole["Forest"], rel=1e-4)
    assert top(CLASSES) == pytest.approx(whole)  # another page's list is as it was
    for names, message in ((["River"], "two classes or more"), (["River", "River"], "'River' is there twice")):
        with pytest.raises(ValueError, match=message):
            answers.check(names)
    for content, message in (
        (b"no image", "no image of a format"),
        (bytes(30_000), "more than 20,000 bytes"),
        (stored(Image.new("L", (300, 300))), "at most 50,000"),
    ):
        path.write_bytes(content)
        with pytest.raises(RefusalError, match=message):
            answers.top(path, CLASSES)


def test_none_of_these_and_an_explanation(folder, tmp_path):
    classifier = open_classifier(folder)
    path = tmp_path / "picture"
    path.write_bytes(stored(picture()))
    answers = Answers(classifier, str(folder))
    assert not answers.top(path, CLASSES).rejected
    classifier.rejection = Rejection("probability", 0.999, 0.95, 20)
    assert answers.top(path, CLASSES).rejected
    assert not answers.top(path, CLASSES[:2]).rejected  # the threshold is one of all classes
    text = answers.explanation(path, CLASSES)
    assert "Without a teacher" in text and 'aria-label="student, occlusion"' in text
    assert answers.top(path, CLASSES).top[0][0] in text


def test_addresses_and_paths_of_a_program_are_refused(folder, tmp_path, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    from promptkd.deploy.demonstration.page import make_app

    app = make_app(Answers(open_classifier(folder), str(folder)), "title")
    (tmp_path / "secret.png").write_bytes(stored(picture()))
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, TestClient(app) as client:
        elsewhere.settimeout(0.5)
        url = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/a.png"

        def join(path, body=None):
            image = {"path": path, "url": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
            whole = body or {"data": [image, None], "fn_index": 0, "session_hash": "abc"}
            return client.post("/gradio_api/queue/join", json=whole)

        paths = (url, f"file://{tmp_path}/secret.png", f"{tmp_path}/secret.png", f"{tmp_path}/uploads/../secret.png")
        for path in (*paths, "/etc/passwd", "", None, {"path": url}):
            answer = join(path)
            assert answer.status_code == 400 and "not opened" in answer.json()["error"], path
        for path in paths:
            for address in (f"file={path}", f"proxy={path}", f"file={quote(path, safe='')}"):
                assert client.get(f"/gradio_api/{address}").status_code == 403, address
            for address in ("run/classify", "api/classify", "call/classify", "process_recording", "component_server"):
                assert client.post(f"/gradio_api/{address}", json={"data": [{"path": path}]}).status_code == 403
        assert client.post("/gradio_api/queue/join", content=b"[" * 2**21).status_code == 400
        with pytest.raises(TimeoutError):
            elsewhere.accept()  # nobody has come
        name = client.post("/gradio_api/upload", files={"files": ("a.png", stored(picture()))}).json()[0]
        assert name.startswith(str(tmp_path / "uploads")) and join(name).status_code == 200
        assert client.get(f"/gradio_api/file={name}").content == stored(picture())


def test_wrong_words_are_one_line(folder, tmp_path, capsys, monkeypatch):
    assert command.main([str(folder), "--port", "-1"]) == 1
    assert command.main([str(tmp_path / "nowhere"), "--port", "0"]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2 and "--port -1: give from 0" in shown[0] and "nowhere" in shown[1]
    monkeypatch.setattr("promptkd.deploy.extras.find_spec", lambda name: None)
    assert command.main([str(folder)]) == 1
    assert capsys.readouterr().err == 'error: the demo needs gradio: pip install "promptkd[demo]"\n'


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAM, reason="no Chromium on this machine: apt-get install chromium")
def test_a_dropped_image_gets_the_runs_answer_offline(folder, tmp_path):
    process = subprocess.Popen(
        [*words_of("demo"), str(folder), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127.0.0.1:\d+", line)
        assert address, line + process.stdout.read()
        content = stored(picture(60))
        best = open_classifier(folder).predict(Image.open(BytesIO(content)), 5)
        with Chromium(tmp_path / "profile") as browser:
            browser.open(f"{address[0]}/", 1280, 900)
            browser.do(FUNCTIONS)
            text = browser.do(f"dropped('{base64.b64encode(content).decode()}')")
            assert text.splitlines()[1] == best[0][0]
            assert [f"{100 * value:.0f}%" for _, value in best] == re.findall(r"\d+%", text)
            browser.do("document.querySelector('#explain').click()")
            found = browser.do("until(() => document.querySelector('#why iframe')).then((one) => one.srcdoc)")
            assert "student, occlusion" in found and best[0][0] in found
            assert "two classes or more" in browser.do("chosen('River')")
            assert browser.do("chosen('River\\nForest')") == "2 classes"
            assert set(re.findall("|".join(CLASSES), browser.do("shown()"))) == {"River", "Forest"}
            outside = [url for url in browser.requests if not url.startswith((f"{address[0]}/", "data:", "blob:"))]
            assert outside == [] and len(browser.requests) > 10
            browser.do("fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'stopped')")
            assert any("Content Security Policy" in text for text in browser.console)
            browser.open(f"{address[0]}/", 390, 844, dark=True)
            browser.do(FUNCTIONS)
            browser.do(f"dropped('{base64.b64encode(content).decode()}')")
            assert browser.do("document.documentElement.scrollWidth") == 390
    finally:
        process.terminate()
        process.wait(30)
