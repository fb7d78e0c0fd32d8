"""Classes given to a student afterwards, against a student that had all of them: base, new and HM on Emoji.

    python -m benchmarks.added_classes --output output/added --seeds 1 2 3

Trains what is not there: a teacher, and for each seed four students of it (100 s each on two cores):

1. of all images, with the class vectors of all classes (PromptKD as published, transductive);
2. of the images of the base classes, with the class vectors of all classes (TRAINER.PROMPTKD.UNLABELLED base);
3. of the images of the base classes, with the class vectors of the base classes alone; `promptkd classes` then gives
   it those of the new ones, and nothing is trained;
4. as 3., with the class vectors of the base classes and of about a thousand concepts (promptkd/data/concepts.txt), none
   of which is a new class.

Each is measured on Emoji's test images by the class vectors that it has in use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from promptkd.files import replacing, write_json, write_text
from promptkd.home import command
from promptkd.results.record import harmonic_mean

Groups = dict[str, list[tuple[str, str]]]  # class group -> (file, class name) of its test images


def base_images(root: Path, folder: Path) -> tuple[Path, list[str], Groups]:
    """A folder of the base classes' training images without labels, the new names, and the test images.

    Args:
        root: of the data sets.
        folder: where the images go.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd import guests
    from promptkd.data.checks import clip_name
    from promptkd.data.command import config
    from promptkd.data.concepts import read_concepts

    guests.register_datasets()
    data = DATASET_REGISTRY.get("Emoji")(config(str(root)))
    names = {group: [data.all_classnames[label] for label in labels] for group, labels in data.groups.items()}
    for item in data.full.train:
        if item.classname in names["base"]:
            path = Path(item.impath)
            with replacing(folder / "images" / f"{item.classname}-{path.parent.name}-{path.name}") as partial:
                partial.write_bytes(path.read_bytes())
    known = {clip_name(name) for name in data.all_classnames}
    concepts = [name for name in read_concepts() if clip_name(name) not in known]
    write_text(folder / "base.txt", "\n".join(names["base"]) + "\n")
    write_text(folder / "wide.txt", "\n".join([*names["base"], *concepts]) + "\n")
    tests = {
        group: [(item.impath, item.classname) for item in data.full.test if item.classname in names[group]]
        for group in ("base", "new")
    }
    return folder / "images", names["new"], tests


def launch(output: Path, root: Path, *words: str, **environment: str) -> None:
    """Starts `promptkd launch`, which skips what is done. Raises CalledProcessError where a run fails."""
    variables = {"OUTPUT": str(output), "DATA": str(root), **environment}
    subprocess.run([*command("launch"), *words], env=os.environ | variables, check=True)


def train(output: Path, root: Path, images: Path, seeds: Sequence[str]) -> dict[str, list[Path]]:
    """Trains what is not there; the name of each kind of student -> its runs, one for each seed."""
    launch(output / "all", root, "base2new", "PromptKD", "emoji", *seeds)
    teacher = output / "all" / "base2new/emoji/shots_16/PromptSRC/mini_teacher/seed1"
    taught = {"TEACHER": str(teacher), "RECIPE": "mini"}
    launch(
        output / "names", root, "base2new", "PromptKD", "emoji", *seeds, "TRAINER.PROMPTKD.UNLABELLED", "base", **taught
    )
    place = "base2new/emoji/shots_all/PromptKD/mini"
    runs = {name: [output / name / place / f"seed{seed}" for seed in seeds] for name in ("all", "names")}
    for name in AFTERWARDS:
        launch(
            output / name, root, "folder", "PromptKD", str(images), str(images.parent / f"{name}.txt"), *seeds, **taught
        )
        (folder,) = (output / name / "own").iterdir()
        runs[name] = [folder / f"seed{seed}" for seed in seeds]
    return runs


def accuracies(run: Path, tests: Groups) -> dict[str, float]:
    """Accuracy (percent) of each group among its own classes, their HM, and that of all images among all classes."""
    from promptkd.data.images import read_published
    from promptkd.deploy.classifier import Classifier

    model = Classifier(run)
    names = {group: sorted({name for _, name in images}) for group, images in tests.items()}
    right: dict[str, list[bool]] = {"base": [], "new": [], "all": []}
    for group, images in tests.items():
        for start in range(0, len(images), 64):
            part = images[start : start + 64]
            probabilities = model.probabilities([read_published(path) for path, _ in part])  # (B, C)
            for kind, chosen in ((group, names[group]), ("all", names["base"] + names["new"])):
                columns = [model.classnames.index(name) for name in chosen]
                best = probabilities[:, columns].argmax(dim=1).tolist()
                right[kind] += [chosen[one] == name for one, (_, name) in zip(best, part, strict=True)]
    found = {kind: 100 * statistics.fmean(hits) for kind, hits in right.items()}
    return {"base": found["base"], "new": found["new"], "HM": harmonic_mean(found["base"], found["new"])} | {
        "all 20": found["all"]
    }


TITLES = {
    "all": "all images, all names (transductive)",
    "names": "base images, all names",
    "base": "base images, base names; new names added afterwards",
    "wide": "base images, base names and a thousand concepts; new names added afterwards",
}
AFTERWARDS = ("base", "wide")  # students whose new classes are added


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/added"))
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    args = parser.parse_args(argv)
    output, root = args.output.absolute(), args.root.absolute()
    from promptkd.deploy import class_editing

    images, new, tests = base_images(root, output / "data")
    runs = train(output, root, images, args.seeds)
    for run in (run for name in AFTERWARDS for run in runs[name]):
        present = class_editing.read_classes(run).classnames
        if missing := [name for name in new if name not in present]:
            class_editing.keep(run, class_editing.edited(run, add=missing))
    rows: list[list[Any]] = []
    measured = {name: [accuracies(run, tests) for run in members] for name, members in runs.items()}
    for name, members in measured.items():
        cells = []
        for metric in members[0]:
            values = [one[metric] for one in members]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.2f}{spread}")
        rows.append([TITLES[name], *cells])
    print(tabulate(rows, headers=["the student learned from", *measured["all"][0]], tablefmt="github"))
    if args.json:
        write_json(args.json, measured)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
