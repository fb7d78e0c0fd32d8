"""The server: right answers in every form of request, one line for a wrong one, and nothing that takes it down."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from conftest import CLASSES
from PIL import Image
from served import as_json, ask, bomb, form, picture, serving, stored, tiny_model

from promptkd.deploy.opening import open_classifier
from promptkd.deploy.rejection import Rejection
from promptkd.deploy.serving import command
from promptkd.deploy.serving.limits import Limits


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clips):
    return tiny_model(tmp_path_factory.mktemp("served") / "model", clips["student"])


@pytest.fixture(scope="module")
def classifier(folder):
    return open_classifier(folder)


@pytest.fixture(scope="module")
def port(classifier):
    with serving(classifier) as one:
        yield one


class Slow:
    """The classifier, which waits for a permit before each batch and notes how large the batches are."""

    rejection = None

    def __init__(self, classifier):
        self.classifier, self.classnames, self.pixels = classifier, classifier.classnames, classifier.pixels
        self.permits, self.begun, self.sizes = threading.Semaphore(0), threading.Event(), []

    def logits_of(self, pixels):
        self.begun.set()
        self.permits.acquire()
        self.sizes.append(len(pixels))
        return self.classifier.logits_of(pixels)


def expected(classifier, image, top=5):
    pairs = classifier.predict(image, top)
    return {"top": [{"class": name, "probability": pytest.approx(value, abs=1e-5)} for name, value in pairs]}


def test_none_of_these_where_the_run_has_a_threshold(tmp_path, clips):
    classifier = open_classifier(tiny_model(tmp_path / "model", clips["student"]))
    classifier.rejection = Rejection("energy", float("inf"), 0.95, 20)
    with serving(classifier) as port:
        status, answer = ask(port, stored(picture()))
    logits = classifier.logits([picture()])[0].double()
    assert status == 200 and sorted(answer) == ["rejected", "score", "top"]
    assert answer["rejected"] is True and answer["score"] == pytest.approx(float(logits.logsumexp(0)), abs=1e-4)


def test_every_form_of_request_gets_the_classifiers_answer(port, classifier):
    for mode, kind in (("RGB", "PNG"), ("L", "JPEG"), ("RGBA", "WEBP"), ("P", "GIF"), ("CMYK", "JPEG"), ("RGB", "BMP")):
        content = stored(picture(mode=mode), kind)
        for body, sort in (
            form(content),
            as_json(content),
            (content, "image/png"),
            (content, "application/octet-stream"),
        ):
            status, answer = ask(port, body, sort)
            assert status == 200, (mode, kind, answer)
        assert answer == expected(classifier, Image.open(BytesIO(content)))
    assert ask(port, content, path="/predict?top=2")[1] == expected(classifier, Image.open(BytesIO(content)), 2)
    turned = stored(picture(), "JPEG", exif=bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000"))
    assert ask(port, turned)[1] == expected(classifier, Image.open(BytesIO(turned)))


def test_what_it_tells_of_itself(port):
    ask(port, stored(picture()))
    assert ask(port, b"nothing")[0] == 415
    assert ask(port, path="/classes", method="GET") == (200, {"classes": CLASSES})
    assert ask(port, path="/healthz", method="GET") == (200, {"status": "ok"})
    status, text = ask(port, path="/metrics", method="GET")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    samples = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert status == 200 and samples['promptkd_requests_total{status="200"}'] >= 1
    assert samples['promptkd_refusals_total{reason="format"}'] >= 1
    assert samples["promptkd_request_seconds_count"] == samples['promptkd_request_seconds_bucket{le="+Inf"}'] >= 2
    assert samples["promptkd_batch_images_sum"] == samples['promptkd_requests_total{status="200"}']
    assert samples["promptkd_model_seconds_total"] > 0 and samples["process_resident_memory_bytes"] > 2**20
    kinds = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds)) == text.count("# HELP")
    for path in ("/docs", "/redoc", "/openapi.json", "/../etc/passwd"):  # FastAPI's pages ask other hosts for scripts
        assert ask(port, path=path, method="GET")[0] == 404


def test_wrong_requests_get_one_line(port):
    good = stored(picture(80), "JPEG")
    for body, kind, status, words in (
        (good, "text/plain", 415, "send multipart/form-data with a part 'image'"),
        (b"{", "application/json", 400, "not JSON"),
        (b'"image"', "application/json", 400, "JSON of another form"),
        (b'{"image": 5}', "application/json", 400, "JSON of another form"),
        (b'{"image": "http://127.0.0.1:1/a.png"}', "application/json", 400, "addresses and paths are not opened"),
        (b'{"image": "file:///etc/passwd"}', "application/json", 400, "addresses and paths are not opened"),
        (b'{"image": "/etc/passwd0"}', "application/json", 415, "no image of a format that is read: JPEG, PNG"),
        (b"[" * 5000, "application/json", 400, ""),
        (b'{"image": ""}', "application/json", 400, "the image is empty"),
        (form(good, name="photo")[0], form(good)[1], 400, "no part with the name 'image'"),
        (form(good)[0][:-200], form(good)[1], 400, "cut off"),
        (form(good)[0], "multipart/form-data", 400, "does not begin with its boundary"),
        (good[: len(good) // 2], "image/jpeg", 422, "cannot be decoded"),
        (stored(picture())[:120], "image/png", 422, "cannot be decoded"),
        (b"<svg/>", "image/svg+xml", 415, "no image of a format"),
        (stored(picture(), "TIFF"), "image/tiff", 415, "no image of a format"),
        (bomb(20_000, 20_000), "image/png", 413, "400000000 pixels"),
        (bomb(6_000, 6_000), "image/png", 413, "6000 x 6000 pixels: at most 32,000,000"),
        (bomb(1, 60_000), "image/png", 413, "over 200 times"),
        (good[:2] + b"\xff\xda\x00\x02" * 2000 + good[2:], "image/jpeg", 413, "over 100 scans"),
    ):
        found, answer = ask(port, body, kind)
        assert found == status and words in answer["error"] and "\n" not in answer["error"], (body[:40], found, answer)
    for top in ("0", "-1", "6", "x", "1e3"):
        assert ask(port, good, path=f"/predict?top={top}")[0] == 400
    assert ask(port, path="/predict", method="GET")[0] == 405
    assert ask(port, good)[0] == 200


def test_bodies_are_bounded_whatever_their_head_says(classifier):
    with serving(classifier, Limits(size=10_000)) as port:
        status, answer = ask(port, b"\xff" * 50_000)
        assert status == 413 and "more than 17,429 bytes" in answer["error"]
        status, answer = ask(port, b"\xff" * 12_000)
        assert status == 413 and "12,000 bytes" in answer["error"]
        with socket.create_connection(("127.0.0.1", port), 20) as client:  # without a length, and without an end
            client.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for _ in range(20):
                client.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")
            assert b" 413 " in client.recv(4096)
        assert ask(port, stored(picture()))[0] == 200


def test_what_waits_is_classified_together_and_a_full_queue_is_429(classifier):
    slow = Slow(classifier)
    content = stored(picture())
    with serving(slow, Limits(queue=6, batch=4)) as port, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, port, content)]
        assert slow.begun.wait(10)  # the first one is being classified, and five come
        asked += [pool.submit(ask, port, content) for _ in range(5)]
        _until(lambda: "promptkd_waiting_images 5" in ask(port, path="/metrics", method="GET")[1])
        status, answer = ask(port, content)
        assert status == 429 and "6 requests are being answered" in answer["error"]
        assert ask(port, path="/healthz", method="GET")[0] == 200
        for _ in range(3):
            slow.permits.release()
        answers = [one.result(20) for one in asked]
        assert slow.sizes == [1, 4, 1]
        assert [status for status, _ in answers] == [200] * 6
        assert all(answer == expected(classifier, picture()) for _, answer in answers)
        slow.permits.release()
        assert ask(port, content)[0] == 200


def test_an_answer_that_takes_too_long_is_503_and_is_not_computed(classifier):
    slow = Slow(classifier)
    with serving(slow, Limits(seconds=0.4)) as port, ThreadPoolExecutor(3) as pool:
        answers = [one.result(20) for one in [pool.submit(ask, port, stored(picture())) for _ in range(3)]]
        assert [status for status, _ in answers] == [503] * 3
        for _ in range(3):
            slow.permits.release()
        assert ask(port, stored(picture()))[0] == 200
        assert sum(slow.sizes) < 4  # those that had given up while they waited were left out


def test_a_model_that_fails_fails_one_batch(classifier):
    class Failing(Slow):
        def logits_of(self, pixels):
            if len(self.sizes) < 1:
                self.sizes.append(0)
                raise RuntimeError("out of memory")
            return classifier.logits_of(pixels)

    with serving(Failing(classifier)) as port:
        assert ask(port, stored(picture())) == (500, {"error": "the model failed on this image"})
        assert ask(port, stored(picture()))[0] == 200
        assert ask(port, path="/healthz", method="GET")[0] == 200


def test_clients_that_stall_are_cut(classifier):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    good = stored(picture())
    whole = head + b"Content-Length: %d\r\n\r\n" % len(good) + good
    with serving(classifier, Limits(seconds=0.5)) as port:
        stalls = {
            "nothing": [],
            "half a head": [head],
            "a drop at a time": [bytes([one]) for one in head[:40]],
            "half a body": [head + b"Content-Length: 5000\r\n\r\nxxx"],
            "after an answer": [whole],
            "half of the next head": [whole, b"POST /pre"],
        }
        start = time.monotonic()
        with ThreadPoolExecutor(len(stalls)) as pool:
            texts = dict(zip(stalls, pool.map(lambda parts: _until_cut(port, parts), stalls.values()), strict=True))
        assert time.monotonic() - start < 10
        assert b" 408 " in texts["half a body"] and b"the body did not come" in texts["half a body"]
        assert b" 200 " in texts["after an answer"] and texts["half of the next head"].count(b"HTTP/1.1") <= 2
        assert texts["nothing"] == b"" and b" 200 " not in texts["half a head"]
        assert ask(port, good)[0] == 200


def _until_cut(port, parts):
    """What a client reads until the server closes the connection; it sends the parts with pauses."""
    read = b""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(0.05)
            while more := client.recv(65536):
                read += more
        except ConnectionError:
            pass
    return read


def _until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_wrong_words_are_one_line(folder, tmp_path, capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        for words, message in (
            ([str(folder), "--port", number], f"cannot listen on 127.0.0.1, port {number}: another program has it"),
            ([str(folder), "--port", "70000"], "--port 70000: give from 0 to 65,535"),
            ([str(folder), "--queue", "0"], "--queue 0: give from 1"),
            ([str(folder), "--seconds", "nan"], "--seconds nan: give from 0.1"),
            ([str(folder), "--host", "203.0.113.7", "--port", "0"], "this machine has no such address"),
            ([str(tmp_path / "nowhere"), "--port", "0"], "holds no run"),
        ):
            assert command.main(words) == 1, words
            shown = capsys.readouterr().err
            assert shown.startswith("error: ") and shown.count("\n") == 1 and message in shown, shown
    monkeypatch.setattr("promptkd.deploy.extras.find_spec", lambda name: None if name == "uvicorn" else name)
    assert command.main([str(folder)]) == 1
    assert capsys.readouterr().err == 'error: serving needs uvicorn: pip install "promptkd[serve]"\n'


@pytest.mark.slow
def test_ten_thousand_garbage_bodies_leave_it_alive_and_small(folder, classifier):
    from benchmarks.serving import server

    good = [stored(picture(seed=1), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    heavy = [bomb(20_000, 20_000), bomb(30_000, 1_000)]
    kinds = ["image/png", "application/json", 'multipart/form-data; boundary="x y"', "application/octet-stream"]

    def garbage(number):
        one = np.random.default_rng(number)
        body = bytearray(good[number % 4]) if number % 3 else bytearray(one.bytes(int(one.integers(1, 3000))))
        for place in one.integers(0, len(body), 8):
            body[place] = one.integers(256)
        body = bytes(body[: one.integers(1, len(body) + 1)]) if number % 2 else bytes(body)
        if number % 5 == 0:
            return form(body)
        return (as_json(body)) if number % 7 == 0 else (body, kinds[number % 4])

    def memory(port):
        text = ask(port, path="/metrics", method="GET")[1]
        return float(text.rpartition("process_resident_memory_bytes ")[2])

    with server(str(folder), "--pixels", "2000000") as (port, process), ThreadPoolExecutor(8) as pool:
        for content in heavy * 4:
            assert ask(port, content)[0] == 413
        assert {status for status, _ in pool.map(lambda number: ask(port, *garbage(number)), range(200))} & {415, 422}
        before = memory(port)
        statuses = [status for status, _ in pool.map(lambda number: ask(port, *garbage(number)), range(10_000))]
        after = memory(port)
        assert set(statuses) <= {200, 400, 413, 415, 422} and sum(status != 200 for status in statuses) > 5000
        assert after - before < 40 * 2**20
        assert ask(port, stored(picture())) == (200, expected(classifier, picture()))
        assert process.poll() is None
