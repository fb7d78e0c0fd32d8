"""uvicorn with what it leaves open: a client that stalls is cut, in whatever it stalls."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from promptkd.deploy.serving.limits import Limits

CONNECTIONS = 1024  # at a time; each holds some 100 KB beside the bodies that Limits.queue bounds


def protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol in which a connection that stalls is closed.

    uvicorn itself closes a connection that is idle between two requests, and waits without end for the rest of a head
    that has begun, for a body, and for a client that does not read its answer.

    Args:
        seconds: for a head, begun or not; a request, with body, answer and its way to the client, has three times that.
    """

    class Watched(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _request: Any = None  # the one that is being answered

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._restart(None)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Starts the time anew where a request has begun or ended; bytes alone do not lengthen it."""
            request = self.cycle if self.cycle and not self.cycle.response_complete else None
            if request is not self._request:
                self._restart(request)

        def _restart(self, request: Any) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._request = request
            # abort, for close() waits until what was written is read
            self._timer = self.loop.call_later(seconds if request is None else 3 * seconds, self.transport.abort)

    return Watched


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes one that is free.

    Raises:
        OSError: the port is taken or not ours to take, or this machine has no such address.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, number)
    except OSError as error:
        raise OSError(f"--host {host}: {error.strerror or error}; 127.0.0.1 is this machine alone") from None
    try:
        if os.name == "posix":  # a port whose last server has just ended is free
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(CONNECTIONS)
    except OSError as error:
        bound.close()
        remedies = {
            errno.EADDRINUSE: "another program has it; give another, or --port 0 for one that is free",
            errno.EACCES: "ports below 1024 are the administrator's; give another",
            errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 is this machine alone",
        }
        reason = remedies.get(error.errno or 0, error.strerror or str(error))
        raise OSError(f"cannot listen on {host}, port {port}: {reason}") from None
    return bound


def server(app: Any, limits: Limits) -> uvicorn.Server:
    """A uvicorn server of an app, to be run on a socket of `listening`."""
    config = uvicorn.Config(
        app,
        http=protocol(limits.seconds),
        ws="none",
        log_level="error",  # not a line for each broken request
        access_log=False,
        server_header=False,
        timeout_keep_alive=max(1, int(limits.seconds)),
        timeout_graceful_shutdown=max(1, int(limits.seconds)),
        limit_concurrency=CONNECTIONS,
    )
    return uvicorn.Server(config)
