"""Shows a finished run on a local page: drop an image in, see the likeliest classes, change the list of classes.

    promptkd demo RUN [--port 7860]

In a checkout that is `python tools/demo.py`. The page is made with Gradio and needs the extra "demo":
pip install "promptkd[demo]". It works offline, reports nothing to anybody, and is for this machine alone;
`promptkd serve` is what programs ask. Classes that the run has not are encoded by its teacher, which has to be where
it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence

from promptkd.deploy.extras import missing
from promptkd.home import expanded
from promptkd.texts import one_line


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN_OR_EXPORT")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1: this machine alone")
    parser.add_argument("--port", type=int, default=7860, help="0 takes one that is free, and prints it")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or mps")
    args = parser.parse_args(argv)
    try:
        if not 0 <= args.port <= 65535:
            raise ValueError(f"--port {args.port}: give from 0 to 65,535")
        if lacking := missing("gradio"):
            raise ValueError(f'the demo needs {lacking}: pip install "promptkd[demo]"')
        return _show(args)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1


def _show(args: argparse.Namespace) -> int:
    """Listens, loads and serves the page until it is asked to end."""
    from promptkd.deploy.opening import open_classifier
    from promptkd.deploy.serving.server import listening

    uploads = tempfile.TemporaryDirectory(prefix="promptkd-demo-", ignore_cleanup_errors=True)
    # the port first: Gradio and a model take seconds
    with listening(args.host, args.port) as bound, uploads as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # what was dropped goes when the demo does
        source = expanded(args.run)
        classifier = open_classifier(source, args.device)
        import uvicorn

        from promptkd.deploy.demonstration.answers import Answers
        from promptkd.deploy.demonstration.page import make_app

        title = f"{len(classifier.classnames)} classes of {classifier.about.get('dataset') or 'images'}"
        app = make_app(Answers(classifier, source), title)
        host, port = bound.getsockname()[:2]
        print(f"{title} at http://{f'[{host}]' if ':' in host else host}:{port}; Ctrl-C ends", flush=True)
        config = uvicorn.Config(app, ws="none", log_level="error", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[bound])
    return 0


command_line = main
