"""How a command ends: an error is one line with a remedy, and so is a Ctrl-C, whenever it comes."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from promptkd.errors import describe

log = logging.getLogger(__name__)

INTERRUPTED = "interrupted: the same command goes on from the last finished epoch"
_active = False  # whether processes that are forked now are to ignore SIGINT
_installed = False
_forking = False  # within the hooks of a fork, out of which no exception comes
_asked: list[int] = []  # the SIGINTs of the present `interruptible`


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets the first SIGINT raise KeyboardInterrupt, and another one end this process at once, without a question.

    Processes that are forked meanwhile, as a loader's workers, ignore it: this one ends them. After an interrupt SIGINT
    stays ignored, for what is left is a line and the exit. Without effect in a thread.
    """
    global _active
    if threading.current_thread() is not threading.main_thread() or _active:
        yield
        return
    _hold_in_forks()
    _asked.clear()

    def stop(number: int, frame: FrameType | None) -> None:
        _asked.append(number)
        if len(_asked) > 1:
            _end_now()
        if not _forking:  # else `check` raises it soon
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    _active = True
    try:
        yield
    except BaseException as error:
        if not _asked:
            raise
        before = signal.SIG_IGN
        # A module that an interrupt leaves half imported fails in some other way.
        raise KeyboardInterrupt from error
    finally:
        _active = False
        signal.signal(signal.SIGINT, before)


def check() -> None:
    """Raises the KeyboardInterrupt of a SIGINT that came where exceptions are lost; called once a step."""
    if _active and _asked:
        raise KeyboardInterrupt


def _end_now() -> None:
    """Ends this process and the workers that it has started."""
    if os.environ.get("RANK", "0") == "0":
        with contextlib.suppress(OSError):
            os.write(2, f"\n{INTERRUPTED}\n".encode())
    for worker in multiprocessing.active_children():
        with contextlib.suppress(Exception):
            worker.kill()
    os._exit(130)


def _hold_in_forks() -> None:
    """Makes forked processes ignore SIGINT from their first instruction, while `interruptible` lasts."""
    global _installed
    if _installed or not hasattr(os, "register_at_fork"):
        return
    _installed = True

    def hold() -> None:
        global _forking
        _forking = True
        if _active:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def let_go() -> None:
        global _forking
        if _active:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        _forking = False

    def ignore() -> None:
        if _active:
            with contextlib.suppress(ValueError):  # not in a main thread
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            # A worker's errors go to its parent by themselves; these are of threads that pass tensors to a parent which
            # has gone.
            sys.excepthook = lambda kind, error, trace: None
            threading.excepthook = lambda failed: None
        let_go()

    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=ignore)


def allow_many_files() -> None:
    """Raises this process's limit of open files as far as the system lets it: workers pass images on as open files."""
    try:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ImportError, ValueError, OSError):  # no such limits here, or none that may be changed
        return


def few_files() -> bool:
    """Whether this process may open so few files that a loader's workers soon meet the limit."""
    try:
        import resource
    except ImportError:
        return False
    return 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 512


def note_errors_of_helpers() -> None:
    """Makes a warning of an error in a thread, as of TensorBoard's writer, in place of a traceback.

    An error in what Python clears away, as in the rest of a loader whose workers did not start, follows from another
    one, which ends the run: it goes to the log.
    """

    def clear(failed: sys.UnraisableHookArgs) -> None:
        log.debug("While something was cleared away: %s", describe(failed.exc_value or RuntimeError("unknown")))

    def note(failed: threading.ExceptHookArgs) -> None:
        log.warning("A helper of this run ended: %s", describe(failed.exc_value or RuntimeError("unknown")))

    threading.excepthook = note
    sys.unraisablehook = clear


def say_interrupted(line: str = INTERRUPTED) -> int:
    """Prints the line of a Ctrl-C, after which another one changes nothing; returns the exit code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        print(f"\n{line}", file=sys.stderr)
    return 130
