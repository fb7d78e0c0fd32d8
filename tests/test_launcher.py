"""A process of a launcher that was killed ends by itself, also where it had not joined the others yet."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from promptkd import launcher
from promptkd.home import ROOT

CHILD = "from promptkd import launcher; import time; launcher.end_with_it(); print('here', flush=True); time.sleep(60)"
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"


def test_a_launcher_that_is_gone_is_an_error_at_once(monkeypatch):
    monkeypatch.setattr(launcher, "PATIENCE", 0.3)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(closed.getsockname()[1]))
        launcher.check()  # the main process makes the store itself, perhaps later
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        with pytest.raises(ConnectionError, match="torchrun does not answer at 127.0.0.1:.*was it killed"):
            launcher.check()
        closed.listen()
        launcher.check()


def test_a_process_ends_with_the_one_that_started_it():
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "here\n"
        os.kill(parent.pid, signal.SIGKILL)
        start = time.monotonic()
        assert parent.stdout.read() == "", "the pipe closes when the child, too, is gone"
    assert time.monotonic() - start < 20
