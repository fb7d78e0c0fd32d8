"""Replays a golden set (recorded inputs and outputs of the published implementations) with our code, in float32.

    python tests/parity.py DIR [FIXTURE ...]

prints one line a fixture: its name, then the largest error of each kind; exits 1 where one is above its limit
(parity_measure.LIMITS, from the set's FORMAT.md, or a multiple of the noise that the set records of itself). Classes,
sizes, seeds and options are all those of the set; with --set KEY VALUE ... the recorded runs are replayed with other
options, which must change no number.
DIR may also be an archive of a set (.tar.xz).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import parity_adversarial  # noqa: E402
import parity_unsupervised  # noqa: E402
import torch  # noqa: E402
from parity_measure import Golden, Report, read_json  # noqa: E402
from parity_parts import (  # noqa: E402
    replay_plain_clip,
    replay_preprocess,
    replay_schedule,
    replay_splits_file,
    replay_teacher_checkpoint,
    replay_tokenizer,
    replay_tree,
)
from parity_train import replay  # noqa: E402

PARTS: dict[str, tuple[str, Callable[[Golden], Report]]] = {  # name -> the file it is recorded in, and its replay
    "tokenizer": ("tokenizer.json", replay_tokenizer),
    "preprocess": ("preprocess/preprocess.npz", replay_preprocess),
    "splits": ("splits.json", replay_splits_file),
    "lr_schedule": ("lr_schedule.json", replay_schedule),
    "teacher_checkpoint": ("teacher_prompts_only.pth.tar", replay_teacher_checkpoint),
}


def replays(golden: Golden) -> dict[str, Callable[[], Report]]:
    """Name -> replay of everything that the set holds."""
    found: dict[str, Callable[[], Report]] = {
        name: lambda run=run: run(golden) for name, (file, run) in PARTS.items() if golden.has(file)
    }
    for name in golden.fixtures():
        meta = read_json(golden.directory / "fixtures" / f"{name}.json")
        if meta.get("trainer") in parity_unsupervised.REPLAYS:
            found[name] = lambda name=name, kind=meta["trainer"]: parity_unsupervised.REPLAYS[kind](golden, name)
        elif replay_attack := parity_adversarial.replay_of(meta):
            found[name] = lambda name=name, run=replay_attack: run(golden, name)
        elif "trainer" in meta:
            found[name] = lambda name=name: replay(golden, name)
        elif "all" in meta:
            found[name] = lambda name=name: replay_tree(golden, name)
        elif any(f"{role}/logits_per_image" in meta.get("arrays", ()) for role in ("student", "teacher")):
            found[name] = lambda name=name: replay_plain_clip(golden, name)
        else:
            found[name] = lambda name=name: missing(name)
    return found


def missing(name: str) -> Report:
    """The report on a recording of which nothing here is a replay."""
    report = Report(name)
    report.fail("missing: no replay of such a recording")
    return report


def run(directory: Path, wanted: Sequence[str] = (), options: Sequence[str] = ()) -> Iterator[Report]:
    """Replays a set, or some of it, with KEY VALUE options beside the recorded ones.

    Raises:
        FileNotFoundError: no set there.
        ValueError: it holds no such fixture.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the models are tiny
    with tempfile.TemporaryDirectory() as work:
        if directory.is_file():
            with tarfile.open(directory) as archive:
                archive.extractall(Path(work) / "set", filter="data")
            directory = Path(work) / "set"
        if not (directory / "fixtures").is_dir():
            raise FileNotFoundError(f"no golden set in {directory}: it has no folder fixtures/")
        golden = Golden(directory, Path(work), options)
        found = replays(golden)
        if unknown := [name for name in wanted if name not in found]:
            raise ValueError(f"no fixture {unknown[0]!r} in {directory}; it holds {', '.join(found)}")
        for name in wanted or found:
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    report = found[name]()
                yield report
            except Exception as error:  # one that breaks must not hide the others
                report = Report(name)
                report.fail(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
                report.lines += traceback.format_exc().strip().splitlines()[-7:-1]
                yield report


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line a fixture; 0 where all passed."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory", type=Path, metavar="DIR", help="a golden set, or an archive of one")
    p.add_argument("fixtures", nargs="*", metavar="FIXTURE", help="replay only these")
    p.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="options of the replayed runs")
    args = p.parse_args(argv)
    failed = total = 0
    try:
        for report in run(args.directory, args.fixtures, args.set):
            print(report, flush=True)
            failed, total = failed + (not report.ok), total + 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{total - failed} of {total} passed")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
