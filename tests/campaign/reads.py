"""Changed files through their readers, 210 of each format, and through the commands that people give them to."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from campaign.bench import Bench, command, promptkd, train
from campaign.cases import Case, Tally
from fuzz import changed_archive, changed_bytes, changed_safetensors, cost
from fuzz_formats import FORMATS, IN_JSON, IN_YAML, MUTATIONS, Change, judged
from PIL import Image
from tiny_runs import METHODS

from promptkd.home import ROOT
from promptkd.model.class_vectors import FILE_NAME
from promptkd.model.zoo import load_clip

IMAGE = ("eurosat", "2750", "Forest", "0.jpg")
# What the data tool reads: its report is on standard output, a line for each fault.
REPORTED = ("class list, text", "class list, JSON", "class list, YAML", "list of files", "split")
Uses = list[Callable[[], int]]


def through_readers(bench: Bench, tally: Tally) -> None:
    """Counts how changed files of each format end in their reader, in this process."""
    for make in FORMATS:
        format = make(folder := bench.place())
        path, rng = folder / format.name, random.Random(make.__name__)
        for number in range(bench.count(MUTATIONS)):
            path.write_bytes(format.change(format.content, rng))
            error, seconds, grown = cost(lambda path=path, format=format: format.read(path))
            wrong = judged(format, error, seconds, grown)
            kind = (
                "hang" if error and "it took 10 s" in str(error) else "traceback" if " " not in wrong[2:] else "wrong"
            )
            end = kind if wrong else "handled" if error is None else "one line"
            tally.add(f"{format.name} {number}", end, f"{wrong} {error!r}", max(0, grown) / 2**20, seconds)


def through_commands(bench: Bench) -> Iterator[Case]:
    """Changed files in the places where commands take them; each format goes through all of its uses in turn."""
    for name, make in COMMANDS.items():
        rng = random.Random(name)
        path, change, uses = make(bench)
        content = path.read_bytes()
        for number in range(bench.count(24)):
            bad, use = change(content, rng), uses[number % len(uses)]

            def action(path: Path = path, bad: bytes = bad, use: Callable[[], int] = use) -> int:
                path.write_bytes(bad)
                return use()

            def check(out: str, err: str, path: Path = path) -> str:
                shown = [line for line in out.splitlines() if line.startswith("  problem ")]  # of the data tool
                if "no data set: give" in err or "images are missing" in out:  # nothing of the file's form is wrong
                    return ""
                lines = shown + [line for line in err.splitlines() if line.startswith("error:")]
                names = (path.name, path.parent.name, path.stem)
                return "" if not lines or any(name in lines[-1] for name in names) else f"not named: {lines[-1]}"

            yield Case(f"{name} {number}", action, refused=False, check=check, seconds=20.0, lines=name not in REPORTED)
        path.write_bytes(content)


def clip_file(bench: Bench) -> tuple[Path, Change, Uses]:
    path = bench.place() / "backbone.safetensors"
    for suffix in (".safetensors", ".json"):
        shutil.copy(Path(bench.clips["student"]).with_suffix(suffix), path.with_suffix(suffix))
    return path, changed_safetensors, uses_of_backbone(bench, path)


def clip_config(bench: Bench) -> tuple[Path, Change, Uses]:
    weights, _, uses = clip_file(bench)
    return weights.with_suffix(".json"), IN_JSON, uses


def state_dict(bench: Bench) -> tuple[Path, Change, Uses]:
    path = bench.place() / "backbone.pt"
    torch.save(load_clip(bench.clips["student"]).state_dict(), path)
    shutil.copy(Path(bench.clips["student"]).with_suffix(".json"), path.with_suffix(".json"))
    return path, changed_archive, uses_of_backbone(bench, path)


def uses_of_backbone(bench: Bench, path: Path) -> Uses:
    def student() -> int:
        return train(bench.words("CoOp", bench.place() / "run", "--no-train", "MODEL.BACKBONE.NAME", str(path)))

    def teacher() -> int:
        words = ["--no-train", "TRAINER.PROMPTKD.TEACHER", str(path)]
        return train(bench.words("PromptKD", bench.place() / "run", *words))

    return [student, teacher]


def checkpoint(bench: Bench) -> tuple[Path, Change, Uses]:
    run = bench.copy("CoOp")
    path = run / "prompt_learner" / "model.pth.tar-2"

    def words(*more: str) -> int:
        return train(bench.words("CoOp", bench.place() / "run", *more))

    uses: Uses = [
        lambda: words("--eval-only", f"--model-dir={run}", "LOAD_EPOCH", "2"),
        lambda: words(f"--resume={run}", "OPTIM.MAX_EPOCH", "2"),
        lambda: words("--no-train", "MODEL.INIT_WEIGHTS", str(path)),
        lambda: train(
            bench.words("PromptKD", bench.place() / "run", "--no-train", "TRAINER.PROMPTKD.TEACHER", str(run))
        ),
        command("predict", str(run), image(bench)),
        lambda: promptkd(["export", str(run), str(bench.place() / "out")]),
    ]
    return path, changed_archive, uses


def student_file(name: str, change: Change) -> Callable[[Bench], tuple[Path, Change, Uses]]:
    """A file of a finished student: what classifies images, exports it, evaluates it."""

    def make(bench: Bench) -> tuple[Path, Change, Uses]:
        run = bench.copy("PromptKD")
        uses: Uses = [
            command("predict", str(run), image(bench)),
            lambda: promptkd(["export", str(run), str(bench.place() / "out")]),
            lambda: train(bench.words("PromptKD", bench.place() / "run", "--eval-only", f"--model-dir={run}")),
        ]
        return next(run.rglob(name)), change, uses

    return make


def recipe(bench: Bench) -> tuple[Path, Change, Uses]:
    path = bench.place() / "recipe.yaml"
    shutil.copy(ROOT / "configs/trainers/CoOp/mini.yaml", path)
    words = ["--no-train", f"--config-file={path}"]
    of_data = ["--no-train", f"--dataset-config-file={path}"]
    uses = [lambda some=some: train(bench.words("CoOp", bench.place() / "run", *some)) for some in (words, of_data)]
    return path, IN_YAML, [uses[0], uses[0], uses[1]]


def class_list(name: str, content: bytes, change: Change) -> Callable[[Bench], tuple[Path, Change, Uses]]:
    def make(bench: Bench) -> tuple[Path, Change, Uses]:
        path = bench.place() / name
        path.write_bytes(content)
        images = Path(bench.root, *IMAGE).parent
        return path, change, [command("data", "check", "Unlabeled", "--root", str(images), "--classnames", str(path))]

    return make


def file_list(bench: Bench) -> tuple[Path, Change, Uses]:
    root = bench.place()
    rows = []
    for number in range(8):
        Image.new("RGB", (8, 8)).save(root / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{'train' if number < 4 else 'test'}\n")
    path = root / "metadata.csv"
    path.write_text("file_name,label,split\n" + "".join(rows))
    return path, changed_bytes, [command("data", "check", "Folder", "--root", str(root))]


def split(bench: Bench) -> tuple[Path, Change, Uses]:
    root = bench.place() / "data"
    shutil.copytree(bench.root, root)
    return (
        root / "eurosat" / "split_zhou_EuroSAT.json",
        IN_JSON,
        [command("data", "check", "eurosat", "--root", str(root))],
    )


def plan(bench: Bench) -> tuple[Path, Change, Uses]:
    path = bench.place() / "plan.yaml"
    path.write_text("trainers: [CoOp, VPT]\ndatasets: [emoji]\nseeds: [1, 2]\nset: {OPTIM.MAX_EPOCH: 2}\n")
    words = ["sweep", str(path), "--dry-run", "--output", str(bench.place() / "out")]
    return path, IN_YAML, [command(*words)]


def results(bench: Bench) -> tuple[Path, Change, Uses]:
    run = bench.copy("VPT")
    folder = str(run.parent)
    return run / "results.json", IN_JSON, [command("collect", folder)]


def concepts(bench: Bench) -> tuple[Path, Change, Uses]:
    path = bench.place() / "concepts.txt"
    path.write_text("harp\nzinc ore\nacoustic guitar\n")
    options = {"TEACHER": bench.clips["teacher"], "CLASS_AGNOSTIC": "True", "CONCEPTS": str(path), "K_MAX": "3"}
    words = [word for key, value in options.items() for word in (f"TRAINER.KDPL.{key}", value)]
    words += METHODS["CoOp"].words("CoOp")
    return (
        path,
        changed_bytes,
        [lambda: train(bench.words("CoOp_KDPL", bench.place() / "run", "--no-train", *words))],
    )


def class_texts(bench: Bench) -> tuple[Path, Change, Uses]:
    names = sorted(
        {row[2] for row in json.loads(Path(bench.root, "eurosat", "split_zhou_EuroSAT.json").read_text())["train"]}
    )
    path = bench.place() / "texts.json"
    path.write_text(json.dumps({name: [f"{name} from above"] for name in names}))
    words = ["TRAINER.TFUP.DESCRIPTIONS", str(path), "DATASET.NUM_SHOTS", "0", "DATASET.SUBSAMPLE_CLASSES", "all"]
    return path, IN_JSON, [lambda: train(bench.words("TFUP", bench.place() / "run", *words))]


def image(bench: Bench) -> str:
    return str(Path(bench.root, *IMAGE))


COMMANDS: dict[str, Callable[[Bench], tuple[Path, Change, Uses]]] = {
    "safetensors as backbone and teacher": clip_file,
    "a CLIP's configuration": clip_config,
    "a state dict as backbone and teacher": state_dict,
    "checkpoint in eval, resume, init, teacher, predict, export": checkpoint,
    "class vectors": student_file(FILE_NAME, changed_safetensors),
    "prompts.json": student_file("prompts.json", IN_JSON),
    "config.yaml of a run": student_file("config.yaml", IN_YAML),
    "recipes": recipe,
    "class list, text": class_list("classes.txt", b"0 apple\n1 pear\n2 plum\n", changed_bytes),
    "class list, JSON": class_list("classes.json", b'{"names": {"0": "apple", "1": "pear"}}', IN_JSON),
    "class list, YAML": class_list("data.yaml", b"nc: 3\nnames: [apple, pear, fig]\n", IN_YAML),
    "list of files": file_list,
    "split": split,
    "plan": plan,
    "results.json in collect": results,
    "concepts": concepts,
    "texts of classes": class_texts,
}
