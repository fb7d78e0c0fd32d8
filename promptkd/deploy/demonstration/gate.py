"""What the demo's server lets through to Gradio: the addresses its own page asks, and files that were uploaded to it.

Gradio's interface for programs takes an address of the web, or a path, for an image, and fetches it. Here nothing is
read that the browser has not sent.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptkd.bounded import parse_json

BODY = 2**20  # bytes of a JSON body, in which the list of classes comes
VALUES = 100_000
READ = re.compile(
    r"/|/config/?|/theme\.css|/manifest\.json|/favicon\.ico|/robots\.txt|/pwa_icon(/\d+)?|/(static|assets|svelte)/.*|"
    r"/gradio_api/(info/?|app_id/?|theme\.css|startup-events|upload_progress|queue/data|heartbeat/[^/]+)"
)
FILE = "/gradio_api/file="
WRITTEN = re.compile(r"/gradio_api/(queue/join|cancel|reset/?)")
UPLOAD = "/gradio_api/upload"


class Gate:
    """Stands before an app that Gradio made.

    Args:
        app: that answers what is let through.
        uploads: the folder that Gradio puts uploads into.
    """

    def __init__(self, app: ASGIApp, uploads: str) -> None:
        self._app, self._uploads = app, os.path.realpath(uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; others than the page's own get 403, a body that names another file 400."""
        if scope["type"] != "http":  # the app's start and end; there are no web sockets
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD") and (READ.fullmatch(path) or self._is_upload_address(path)):
            await self._app(scope, receive, send)
        elif method == "POST" and path == UPLOAD:
            await self._app(scope, receive, send)
        elif method == "POST" and WRITTEN.fullmatch(path):
            body, problem = await self._checked(receive)
            if problem:
                await JSONResponse({"error": problem}, 400)(scope, receive, send)
            else:
                await self._app(scope, _once(body, receive), send)
        else:
            problem = "the demo answers its own page alone; programs ask promptkd serve"
            await JSONResponse({"error": problem}, 403)(scope, receive, send)

    def is_upload(self, path: Any) -> bool:
        """Whether a value is the path of a file in the folder of uploads."""
        if not isinstance(path, str) or "\0" in path:
            return False
        real = os.path.realpath(path)
        return os.path.isabs(path) and real.startswith(self._uploads + os.sep) and os.path.isfile(real)

    def _is_upload_address(self, path: str) -> bool:
        return path.startswith(FILE) and all(
            self.is_upload(one) for one in (path[len(FILE) :], unquote(path[len(FILE) :]))
        )

    async def _checked(self, receive: Receive) -> tuple[bytes, str]:
        """A request's body, written anew as it was understood, and what is wrong with it, or ""."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > BODY:
                return b"", f"the body has more than {BODY:,} bytes"
        try:
            content = parse_json(body.decode("utf-8"), "the body", VALUES)
        except ValueError as error:
            return b"", str(error)
        if not all(self.is_upload(path) for path in _paths(content)):
            return b"", "an image is a file that was uploaded: addresses and paths are not opened"
        return json.dumps(content).encode(), ""


def _paths(content: Any) -> Iterator[Any]:
    """Every value in JSON that a key "path" has."""
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "path" in one:
                yield one["path"]
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _once(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read already, then whatever comes after it."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return parts.pop() if parts else await receive()

    return give
