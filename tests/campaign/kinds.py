"""The kinds of case: functions that yield cases, in the order of the table.

A kind takes a Bench and yields Cases, each of which runs by itself. To add one, write such a function and put
it into KINDS.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from campaign import damage
from campaign.bench import Bench, command, learned, made_up, train
from campaign.cases import Case
from campaign.reads import through_commands

from promptkd.engine import checkpoints
from promptkd.engine.step import Step

CONTROL = {chr(code) for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x202E)}


def damaged_results(bench: Bench) -> Iterator[Case]:
    """A damaged results.json beside a healthy one: the tables name it and show the other."""
    healthy = made_up.result(settings={"SEED": 1}, learned_on="EuroSAT")
    content = json.dumps(healthy).encode()
    documents = (
        (name, json.dumps(value).encode()) for name, value in damage.of_document(healthy, bench.count(150), bench.seed)
    )
    for form, (name, bad) in enumerate([*damage.of_bytes(content, bench.count(100), bench.seed), *documents]):
        place = bench.place()
        made_up.write(place / "a", made_up.result(seed=2))
        made_up.write(place / "b", bad)
        formats = ("terminal", "markdown", "csv", "latex", "json")
        words = ["collect", str(place), "--format", formats[form % 5]]
        words += ["--html", str(place / "page.html")] if form % 3 == 0 else []

        def check(out: str, err: str) -> str:
            strange = CONTROL & set(out + err)
            return f"control characters {strange}" if strange else "" if out else "no table"

        yield Case(f"results.json: {name}", command(*words), refused=False, check=check)


def damaged_results_of_a_run(bench: Bench) -> Iterator[Case]:
    """A run whose own results.json is damaged is evaluated and writes it anew."""
    content = (bench.finished("VPT") / "results.json").read_bytes()
    for name, bad in damage.of_bytes(content, bench.count(8), bench.seed + 1):
        run = bench.copy("VPT")
        (run / "results.json").write_bytes(bad)
        whole = _is_whole(run / "results.json")

        def check(out: str, err: str, run: Path = run, whole: bool = whole) -> str:
            if not _is_whole(run / "results.json"):
                return "results.json was not written anew"
            return "" if whole or "damaged" in out else "nobody was told"

        yield Case(f"a run's results.json: {name}", lambda run=run: train(bench.words("VPT", run)), False, check)


def damaged_checkpoints(bench: Bench) -> Iterator[Case]:
    """A run goes on from a damaged checkpoint, or one of wrong values: one line, or the run to the bit."""
    reference = bench.finished("CoOp")
    file = reference / "prompt_learner" / "model.pth.tar-1"
    content, expected = file.read_bytes(), learned(reference)
    cases = list(damage.of_bytes(content, bench.count(24), bench.seed + 2))
    for name, change in _wrong_values().items():
        state = checkpoints.read_checkpoint(file)
        change(state)
        changed = bench.place() / "changed"
        torch.save(state, changed)
        cases.append((name, changed.read_bytes()))
    for name, bad in cases:
        run = bench.copy("CoOp")
        (run / "results.json").unlink()
        (run / "prompt_learner" / "model.pth.tar-2").unlink()
        (run / "prompt_learner" / "model.pth.tar-1").write_bytes(bad)

        def check(out: str, err: str, run: Path = run) -> str:
            done = (run / "results.json").is_file()
            return "went on with other values" if done and learned(run) != expected else ""

        yield Case(f"checkpoint: {name}", lambda run=run: train(bench.words("CoOp", run)), False, check)


def _wrong_values() -> dict[str, Callable[[dict], object]]:
    """What was changed -> changes a checkpoint's content."""

    def spoil(state: dict) -> None:
        next(iter(state["state_dict"].values())).view(-1)[0] = float("nan")

    return {
        "a NaN": spoil,
        "no state_dict": lambda state: state.pop("state_dict"),
        "no run": lambda state: state.pop("run"),
        "a number as state_dict": lambda state: state.update(state_dict=3),
        "a text as a tensor": lambda state: state.update(state_dict={"ctx": "text"}),
        "a text as belongs_to": lambda state: state.update(belongs_to="me"),
        "epoch -1": lambda state: state.update(epoch=-1),
        "epoch as text": lambda state: state.update(epoch="../../x"),
        "optimizer as list": lambda state: state.update(optimizer=[]),
    }


def damaged_configurations(bench: Bench) -> Iterator[Case]:
    """A run in a directory whose config.yaml is damaged."""
    content = (bench.finished("VPT") / "config.yaml").read_bytes()
    aliases = "a: &a [1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
    )
    texts = {
        "a list": "- 1", "aliases": aliases, "nested": "[" * 5000, "a tag": "a: !!python/object/apply:os.system [id]",
        "no trainer": "DATASET: {NAME: x}", "a number as name": "TRAINER: {NAME: 3}\nDATASET: {NAME: x}",
    }  # fmt: skip
    damaged = list(damage.of_bytes(content, bench.count(20), bench.seed + 3))
    for name, bad in [*damaged, *((name, text.encode()) for name, text in texts.items())]:
        run = bench.copy("VPT")
        (run / "config.yaml").write_bytes(bad)
        words = bench.words("VPT", run, "--no-train")
        yield Case(f"config.yaml: {name}", lambda words=words: train(words), refused=False)


def damaged_jobs(bench: Bench) -> Iterator[Case]:
    """A list of jobs of a sweep, damaged."""
    job = {"name": "a", "directory": str(bench.place()), "command": ["false"], "config_hash": "0", "needs": ["b"]}
    documents = damage.of_document([job], bench.count(30), bench.seed + 4)
    texts = [(name, json.dumps(value).encode()) for name, value in documents]
    texts += list(damage.of_bytes(json.dumps([job]).encode(), bench.count(20), bench.seed))
    for name, bad in texts:
        path = bench.place() / "jobs.json"
        path.write_bytes(bad)
        yield Case(f"jobs.json: {name}", command("job", str(path), "0"), check=_ends_clean, lines=False)


def _ends_clean(out: str, err: str) -> str:
    return f"control characters in {err!r}" if CONTROL & set(out + err) else ""


def bad_numbers(bench: Bench) -> Iterator[Case]:
    """After the last step a learned tensor is not finite, though the loss was: nothing is measured or saved."""
    values = (float("nan"), float("inf"), -float("inf"))
    methods = [("CoOp", "CTX"), ("VPT", ""), ("MaPLe", ""), ("PromptSRC", "")]
    rounds = [(t, p, v) for t, _ in methods for p in ("fp32", "bf16") for v in values]
    for trainer, precision, value in rounds[: bench.count(len(rounds))]:
        output = bench.place() / "run"
        words = bench.words(trainer, output, f"TRAINER.{trainer.upper()}.PREC", precision)

        def action(words: list[str] = words, value: float = value) -> int:
            take, steps = Step.take, []

            def spoilt(self, batch, optimizer):
                losses = take(self, batch, optimizer)
                steps.append(1)
                if len(steps) == 6:
                    next(iter(self.model.prompts.state_dict().values())).view(-1)[0] = value
                return losses

            Step.take = spoilt
            return train(words)

        def check(out: str, err: str, output: Path = output) -> str:
            files = [path.name for path in output.rglob("model*.pth.tar*")]
            good = files == ["model.pth.tar-1"] and not (output / "results.json").exists()
            return "" if good and "epoch 2 of 2, step 3 of 3" in err and "OPTIM.LR" in err else f"{files} {err}"

        yield Case(f"{trainer} in {precision}: {value} after the last step", action, check=check)


def failing_disks(bench: Bench) -> Iterator[Case]:
    """A disk that takes no more at some write: one line that names the folder; the same command goes on to the bit."""
    expected = learned(bench.finished("VPT"))
    rng = random.Random(bench.seed)
    faults = [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EMFILE]
    moments = [(fault, at) for fault in faults for at in rng.sample(range(1, 12), 3)]
    for fault, at in moments[:: max(1, round(1 / bench.share))]:
        output = bench.place() / "run"
        words = bench.words("VPT", output)

        def action(words: list[str] = words, fault: int = fault, at: int = at) -> int:
            sync, calls = os.fsync, []

            def failing(descriptor: int) -> None:
                calls.append(1)
                if len(calls) >= at:
                    raise OSError(fault, os.strerror(fault))
                sync(descriptor)

            os.fsync = failing
            return train(words)

        def check(out: str, err: str, output: Path = output, words: list[str] = words) -> str:
            if err and str(output) not in err:
                return f"the folder is not named: {err}"
            return _goes_on(words, output, expected)

        yield Case(f"{errno.errorcode[fault]} at write {at}", action, refused=False, check=check)
    for size in (100, 2_000, 6_000, 20_000):
        output = bench.place() / "run"
        words = bench.words("VPT", output)

        def limited(words: list[str] = words, size: int = size) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            return train(words)

        def check_again(out: str, err: str, output: Path = output, words: list[str] = words) -> str:
            return _goes_on(words, output, expected)

        # Output goes to files too: the limit may take it, but not the exit code.
        yield Case(f"files of up to {size} bytes", limited, refused=False, check=check_again)


def _goes_on(words: list[str], output: Path, expected: dict) -> str:
    """Runs the command again without a fault; a sentence where it does not come to the same numbers."""
    from campaign.bench import in_a_fork

    in_a_fork(lambda: train(words))
    left = [path.name for path in output.rglob(".*.part")]
    return "" if learned(output) == expected and not left else f"other numbers after going on, left {left}"


def interrupts(bench: Bench) -> Iterator[Case]:
    """Ctrl-C at random moments of a run with two workers, its evaluation and its closing writes."""
    rng = random.Random(bench.seed + 5)
    for _ in range(bench.count(24)):
        output = bench.place() / "run"
        words = bench.words("CoOp", output, "DATALOADER.NUM_WORKERS", "2", epochs=6)
        moment = rng.uniform(0.1, 2.5)
        yield Case(f"Ctrl-C after {moment:.2f} s", lambda words=words: train(words), False, _ends_clean, 60.0, moment)


def hostile_names(bench: Bench) -> Iterator[Case]:
    """Names of data sets and classes that a terminal, a spreadsheet, LaTeX, Markdown or HTML would obey."""
    names = [
        "\x1b[2J",
        "\x9b31m",
        "a\rb",
        "x\ny | 99",
        "=cmd|' /C calc'!A0",
        "@SUM(1)",
        "\u202egpj",
        "\x07",
        "$x$",
        "a|b",
    ]
    names += ["\\input{/etc/passwd}", "<script>alert(1)</script>", "[a](javascript:1)", "`x`", "\ud800", "\0"]
    for name in names[: bench.count(len(names))]:
        for form in ("terminal", "markdown", "csv", "latex", "json"):
            place = bench.place()
            made_up.write(place / "a", made_up.result(dataset=name, template=name, backbone=name))

            def check(out: str, err: str, form: str = form, place: Path = place) -> str:
                page = (place / "page.html").read_text()
                bad = [
                    CONTROL & set(out + err) and "control characters",
                    form == "csv"
                    and any(part[:1] in "=@+" for part in out.replace("\n", ",").split(",") if part)
                    and "a formula",
                    form == "latex" and "\\input{" in out and "a command of LaTeX",
                    form == "markdown" and ("](javascript" in out.replace("\\]", "") or "<script" in out) and "a link",
                    "<script>alert" in page and "a script",
                ]
                return ", ".join(text for text in bad if text)

            words = ["collect", str(place), "--format", form, "--html", str(place / "page.html")]
            yield Case(f"{name!r} as {form}", command(*words), refused=False, check=check)


def _is_whole(path: Path) -> bool:
    from promptkd.results.record import RunRecord

    try:
        RunRecord.read(path)
    except ValueError:
        return False
    return True


KINDS: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "all formats, through commands": through_commands,
    "results.json in tables": damaged_results,
    "results.json of a run": damaged_results_of_a_run,
    "checkpoints to go on from": damaged_checkpoints,
    "config.yaml of an output folder": damaged_configurations,
    "lists of jobs": damaged_jobs,
    "names in tables": hostile_names,
    "numbers that are not finite": bad_numbers,
    "disks and limits": failing_disks,
    "Ctrl-C": interrupts,
}
