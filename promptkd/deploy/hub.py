"""Exported folders on Hugging Face's hub, through huggingface_hub: names, downloads, and what goes wrong in one line.

A download takes the files that `export_folder.read` opens and no others, of bounded size; they are then read as any
folder of unknown origin.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptkd import bounded
from promptkd.deploy import export_folder, rejection

log = logging.getLogger(__name__)

TENSORS = (export_folder.ENCODER, export_folder.LEARNED, "class_vectors.safetensors")
READ = (export_folder.DESCRIPTION, *TENSORS, rejection.FILE_NAME)
LARGEST_TENSORS = 2**33  # bytes of a file: CLIP's largest image encoders have 2 billion numbers
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)


def check_name(name: str) -> str:
    """A name on the hub, as it is.

    Raises:
        ValueError: it is not of the form owner/name.
    """
    if not _NAME.fullmatch(name) or ".." in name or "--" in name:
        raise ValueError(
            f"{bounded.shown(name)} is no name on the hub: write owner/name, of letters, digits, - _ and ."
        )
    return name


def library() -> Any:
    """The module huggingface_hub.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        advice = 'pip install "promptkd[hub]"'
        raise ImportError(f"the hub is reached through huggingface_hub, which is not installed: {advice}") from error
    return huggingface_hub


def download(name: str) -> Path:
    """Downloads an exported folder, or takes it from huggingface_hub's cache where the hub cannot be reached.

    Args:
        name: owner/name, or owner/name@REVISION of a branch, tag or commit.

    Returns:
        The folder in the cache.

    Raises:
        ValueError: the name is of another form, or what it names is no exported folder, or too large.
        OSError: there is none of that name, it is not public, or the hub cannot be reached and it is not in the cache.
        ImportError: huggingface_hub is not installed.
    """
    plain, _, revision = name.partition("@")
    check_name(plain)
    if "@" in name and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{bounded.shown(name)}: no revision behind the @, write a branch, a tag or a commit")
    api = library()
    try:
        with explained(plain):
            about = api.HfApi().model_info(plain, revision=revision or None, files_metadata=True)
    except ConnectionError as error:
        with explained(plain, f"it is not in the cache, and {error}"):
            cached = api.snapshot_download(
                plain, revision=revision or None, local_files_only=True, allow_patterns=list(READ)
            )
            folder = Path(cached)
        _check_sizes(plain, {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()})
        log.info("%s comes from the cache: %s", plain, error)
        return folder
    wanted = _check_sizes(plain, {file.rfilename: file.size for file in about.siblings or ()})
    with explained(plain):  # by the branch's name, so that the cache knows it offline
        folder = Path(api.snapshot_download(plain, revision=revision or None, allow_patterns=wanted))
    if folder.name != about.sha:
        raise ValueError(f"{plain} changed while it was downloaded, or an older version came from the cache: try again")
    return folder


def _check_sizes(name: str, sizes: dict[str, int | None]) -> list[str]:
    """The files that are read, of those that there are.

    Raises:
        ValueError: it is no exported folder, or a file is too large or of unknown size.
    """
    if export_folder.DESCRIPTION not in sizes:
        raise ValueError(f"{name} has no {export_folder.DESCRIPTION}: promptkd.load opens what promptkd push sends")
    wanted = [file for file in READ if file in sizes]
    for file in wanted:
        most = LARGEST_TENSORS if file in TENSORS else bounded.RECORD
        size = sizes[file]
        if not isinstance(size, int) or size > most:
            raise ValueError(f"{name}: {file} has {size or 'an unknown number of'} bytes, {most:,} are the most")
    return wanted


@contextlib.contextmanager
def explained(name: str, offline: str = "") -> Iterator[None]:
    """Turns what huggingface_hub raises into errors of one line, with what to do.

    Args:
        name: on the hub.
        offline: what to say where a file is not in the cache.

    Raises:
        ConnectionError: the hub cannot be reached.
        FileNotFoundError, PermissionError, OSError: there is nothing, one may not, or another answer of the hub's.
    """
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise FileNotFoundError(f"{name}: {offline or 'it cannot be reached'}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: {constants.ENDPOINT} shows you nothing of that name: check it; for a private or gated one "
            'give a token, by "hf auth login" or HF_TOKEN'
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status in (401, 403):
            advice = '"hf auth login" with a token that may write, or HF_TOKEN'
            raise PermissionError(f"{name}: {constants.ENDPOINT} does not let you ({status}): {advice}") from error
        raise OSError(f"{name}: {constants.ENDPOINT} answers {bounded.clipped(error, 300)}") from error
    except Exception as error:
        if not _of_connection(error):
            raise
        reason = bounded.clipped(error, 160) or type(error).__name__
        raise ConnectionError(f"{constants.ENDPOINT} cannot be reached ({reason})") from error


def _of_connection(error: Exception) -> bool:
    """Whether an error is of the connection, whichever library it is made with."""
    library_of = type(error).__module__.partition(".")[0]
    return isinstance(error, ConnectionError) or library_of in ("httpx", "httpx2", "httpcore", "requests", "urllib3")
