"""Requests per second and latencies of `promptkd serve` on the loopback, against the model's own rate.

    python -m benchmarks.serving RUN_OR_EXPORT [IMAGE] [--clients 1 8 64] [--seconds 10] [--json FILE]

The server is a process of its own; the clients are threads of another one, each with a connection that it keeps, which
post one image again and again. The model's own rate is that of the same classifier on prepared inputs, in batches of 1
and of the largest of the server, in a process of its own with nothing beside it; decoding is timed apart.
"""

from __future__ import annotations

import argparse
import http.client
import io
import multiprocessing
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabulate import tabulate

from promptkd.deploy.serving.limits import Limits
from promptkd.files import write_json
from promptkd.home import command


@contextmanager
def server(run: str, *words: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server of a run on a free port; gives the port and the process.

    Raises:
        RuntimeError: it did not start; with what it wrote.
    """
    process = subprocess.Popen(
        [*command("serve"), run, "--port", "0", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        if "/predict" not in line:
            raise RuntimeError(f"the server did not start: {line} {process.stderr.read().strip()}")
        yield int(line.partition("/predict")[0].rpartition(":")[2]), process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def ask(port: int, content: bytes, until: float, times: list[float]) -> None:
    """Posts an image on one connection until a time; appends the seconds of each answer.

    Raises:
        RuntimeError: an answer is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.perf_counter() < until:
        start = time.perf_counter()
        connection.request("POST", "/predict", content, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {body.decode()}")
        times.append(time.perf_counter() - start)
    connection.close()


def load(port: int, content: bytes, clients: int, seconds: float) -> dict[str, float]:
    """Rate and latencies with so many clients at a time."""
    times: list[list[float]] = [[] for _ in range(clients)]
    start = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(port, content, start + seconds, one)) for one in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    every = sorted(one for some in times for one in some)
    cuts = statistics.quantiles(every, n=100)
    return {"clients": clients, "requests_per_second": len(every) / took} | {
        f"p{cut}_ms": 1000 * cuts[cut - 1] for cut in (50, 95, 99)
    }


def _load(port: int, content: bytes, clients: int, seconds: float, answer: Any) -> None:
    answer.put(load(port, content, clients, seconds))


def own_rate(run: str, content: bytes, batch: int, seconds: float) -> dict[str, float]:
    """Images per second of the classifier without a server."""
    import numpy as np

    from promptkd.deploy.opening import open_classifier
    from promptkd.deploy.serving.decoding import decoded

    classifier, most = open_classifier(run), Limits().pixels
    one = classifier.pixels([decoded(content, most)])
    rates = {}
    for name, work, count in (
        ("model, one at a time", lambda: classifier.logits_of(one), 1),
        (f"model, batches of {batch}", lambda: classifier.logits_of(np.repeat(one, batch, 0)), batch),
        ("decode and resize, one thread", lambda: classifier.pixels([decoded(content, most)]), 1),
    ):
        work()
        end, done, start = time.perf_counter() + seconds, 0, time.perf_counter()
        while time.perf_counter() < end:
            work()
            done += count
        rates[name] = done / (time.perf_counter() - start)
    return rates


def _own_rate(run: str, content: bytes, batch: int, seconds: float, answer: Any) -> None:
    answer.put(own_rate(run, content, batch, seconds))


def apart(work: Any, *words: Any) -> Any:
    """What a function puts into its last argument, a queue, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=work, args=(*words, answer))
    process.start()
    found = answer.get(timeout=600)
    process.join()
    return found


def drawn(side: int) -> bytes:
    """A PNG of random pixels that a bigger one of 8 x 8 fields was made of."""
    import numpy as np
    from PIL import Image

    fields = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(fields).resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN_OR_EXPORT")
    parser.add_argument("image", nargs="?", type=Path, help="a drawn PNG of 72 x 72 where it is not given")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--batch", type=int, default=Limits().batch)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    content = args.image.read_bytes() if args.image else drawn(72)
    try:
        rates = apart(_own_rate, args.run, content, args.batch, args.seconds)
        with server(args.run, "--batch", str(args.batch)) as (port, _):
            apart(_load, port, content, 8, 1.0)  # a warm-up
            rows = [apart(_load, port, content, clients, args.seconds) for clients in args.clients]
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tabulate(rates.items(), headers=["without a server", "images/s"], floatfmt=".0f"))
    print(tabulate(rows, headers="keys", floatfmt=".1f"))
    if args.json:
        write_json(args.json, {"own": rates, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
