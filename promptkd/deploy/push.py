"""Sends an exported folder to Hugging Face's hub, in one commit.

    promptkd export RUN FOLDER --format safetensors
    promptkd push FOLDER OWNER/NAME [--private] [--update] [--dry-run]

Only files that such a folder has are sent: model.json, its tensors, rejection.json, README.md, a licence. Then
`promptkd.load("hf-hub:OWNER/NAME")` opens it anywhere. The token is huggingface_hub's: "hf auth login", or HF_TOKEN.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptkd import bounded
from promptkd.deploy import export_folder, hub
from promptkd.deploy.card import FILE_NAME as CARD
from promptkd.deploy.card_text import FILL_IN, PLACE
from promptkd.errors import describe
from promptkd.home import expanded

log = logging.getLogger(__name__)

LICENCES = ("LICENSE", "LICENSE.md", "LICENSE.txt")


def files_of(folder: Path, name: str) -> dict[str, Path | bytes]:
    """What is sent: file name -> the file, or of the card its content, with the name that it is pushed under.

    Args:
        folder: of `promptkd export --format safetensors`.
        name: owner/name.

    Raises:
        FileNotFoundError: it is no such folder, is not whole, or has no card.
        ValueError: a file is damaged.
    """
    if not export_folder.is_export(folder):
        advice = "promptkd export RUN FOLDER --format safetensors writes one"
        raise FileNotFoundError(f"{bounded.named(folder)} is no exported folder: {advice}")
    description = export_folder.read_description(folder)
    export_folder.check_files(folder, description["files"])
    if not (folder / CARD).is_file():
        advice = f"promptkd card RUN {bounded.named(folder / CARD)} writes it"
        raise FileNotFoundError(f"{bounded.named(folder)} has no model card, {CARD}: {advice}")
    card = bounded.read_text(folder / CARD).replace(PLACE, name)
    content: dict[str, Path | bytes] = {CARD: card.encode()}
    content |= {one: folder / one for one in (*hub.READ, *LICENCES) if (folder / one).is_file()}
    return content


def push(name: str, content: dict[str, Path | bytes], private: bool = False, update: bool = False) -> str:
    """Makes a repository and adds the files to it in one commit; returns the commit's address.

    Args:
        name: owner/name.
        content: see `files_of`.
        private: whether a new repository is for its owner alone.
        update: whether one that is there already gets a new version.

    Raises:
        FileExistsError: there is one of that name, and `update` is not given.
        OSError: the hub cannot be reached, or refuses; the message says what is there now.
        ImportError: huggingface_hub is not installed.
    """
    library = hub.library()
    api = library.HfApi()
    made = _make(library, api, name, private, update)
    parts = [library.CommitOperationAdd(path_in_repo=file, path_or_fileobj=one) for file, one in content.items()]
    try:
        with hub.explained(name):
            commit = api.create_commit(name, parts, commit_message="A model exported by promptkd")
    except (OSError, ValueError) as error:
        left = f"; {name} was made and is empty, --update sends to it" if made else ""
        raise type(error)(f"nothing was sent: {bounded.clipped(error, 400)}{left}") from error
    return str(commit.commit_url)


def _make(library: Any, api: Any, name: str, private: bool, update: bool) -> bool:
    """Makes the repository; whether there was none."""
    try:
        with hub.explained(name):
            api.create_repo(name, private=private or None)
    except OSError as error:
        status = getattr(getattr(error.__cause__, "response", None), "status_code", 0)
        if status != 409:
            raise
        if not update:
            raise FileExistsError(
                f"{name} is on the hub already: give another name, or --update to add a version to it"
            ) from error
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="of promptkd export --format safetensors")
    parser.add_argument("name", metavar="OWNER/NAME", help="on the hub")
    parser.add_argument("--private", action="store_true", help="a new repository is for its owner alone")
    parser.add_argument("--update", action="store_true", help="add a version where there is one of that name")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    args = parser.parse_args(argv)
    try:
        name = hub.check_name(args.name)
        folder = Path(expanded(args.folder))
        content = files_of(folder, name)
        _say(folder, name, content, args.private)
        if args.dry_run:
            print("nothing was sent: --dry-run")
            return 0
        address = push(name, content, args.private, args.update)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    print(f'{address}: load it with promptkd.load("hf-hub:{name}")')
    return 0


def _say(folder: Path, name: str, content: dict[str, Path | bytes], private: bool) -> None:
    """Prints what goes, what stays, and what is still to be filled in."""
    print(f"{bounded.named(folder)} -> {name}{', private' if private else ', public'}")
    for file, one in content.items():
        size = len(one) if isinstance(one, bytes) else one.stat().st_size
        print(f"  {file}  {size:,} bytes")
    left = sorted(bounded.clipped(path.name, 60) for path in folder.iterdir() if path.name not in content)
    if left:
        print(f"  stays here: {', '.join(left[:10])}{' ...' if len(left) > 10 else ''}")
    card = content[CARD]
    if isinstance(card, bytes) and FILL_IN.encode() in card:
        log.warning('%s: its licences are not filled in (each place says "%s")', bounded.named(folder / CARD), FILL_IN)


command_line = main
