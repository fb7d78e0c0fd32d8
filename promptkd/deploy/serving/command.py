"""Serves a finished run, or an export of it, over HTTP.

    promptkd serve RUN_OR_EXPORT [--host 127.0.0.1] [--port 8000]
    curl -F image=@photo.jpg http://127.0.0.1:8000/predict

In a checkout that is `python tools/serve.py`. An image comes as a part "image" of a form, as {"image": "<base64>"}, or
as the body itself (Content-Type image/*); ?top=3 asks for so many classes. GET /classes, /healthz and /metrics
(Prometheus) tell about the server. Addresses and paths that a client sends are not opened. Who can reach the port can
ask: put what knows your users in front of it before --host 0.0.0.0. It needs the extra "serve":
pip install "promptkd[serve]".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from promptkd.deploy.extras import missing
from promptkd.deploy.serving.limits import Limits
from promptkd.home import expanded
from promptkd.texts import one_line

DEFAULTS = Limits()
RANGES = {  # option -> least and most
    "port": (0, 65535),
    "batch": (1, 4096),
    "queue": (1, 100_000),
    "size": (1, 2**31),
    "pixels": (1, 10**9),
    "seconds": (0.1, 3600),
}


def arguments() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN_OR_EXPORT")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1: this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="0 takes one that is free, and prints it")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or mps")
    parser.add_argument("--batch", type=int, default=DEFAULTS.batch, help="images that are classified at once, at most")
    parser.add_argument("--queue", type=int, default=DEFAULTS.queue, help="requests at a time; more get status 429")
    parser.add_argument("--size", type=int, default=DEFAULTS.size, help="bytes of an image file, at most")
    parser.add_argument("--pixels", type=int, default=DEFAULTS.pixels, help="width x height of an image, at most")
    parser.add_argument("--seconds", type=float, default=DEFAULTS.seconds, help="for a body to come, and for an answer")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = arguments().parse_args(argv)
    try:
        for name, (least, most) in RANGES.items():
            if not least <= (value := getattr(args, name)) <= most:
                raise ValueError(f"--{name} {value}: give from {least} to {most:,}")
        if lacking := missing("fastapi", "uvicorn"):
            raise ValueError(f'serving needs {lacking}: pip install "promptkd[serve]"')
        return _serve(args)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1


def _serve(args: argparse.Namespace) -> int:
    """Listens, loads and serves until it is asked to end."""
    from promptkd.deploy.serving.server import listening, server

    bound = listening(args.host, args.port)  # before the seconds that a model takes
    with bound:
        from promptkd.deploy.opening import open_classifier
        from promptkd.deploy.serving.app import make_app
        from promptkd.deploy.serving.service import Service

        classifier = open_classifier(expanded(args.run), args.device)
        limits = Limits(args.size, args.pixels, args.seconds, args.queue, args.batch)
        service = Service(classifier, limits)
        host, port = bound.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"{len(service.classnames)} classes at {address}/predict; Ctrl-C ends", flush=True)
        server(make_app(service), limits).run(sockets=[bound])
    return 0


command_line = main
