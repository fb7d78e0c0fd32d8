"""Several teachers and every rule of mixing them, on validation images, before any student: what TEACHERS should be.

    python -m benchmarks.mixtures --root DATA --dataset-config-file configs/datasets/emoji.yaml \
        --config-file configs/trainers/PromptKD/mini.yaml TRAINER.PROMPTKD.TEACHERS "[mini-teacher, mini-student]"

The words are those of train.py for PromptKD, with the teachers in TEACHERS; `--json FILE` keeps the numbers. Each
teacher sees each image once. There is a row for each teacher, and for each rule and each choice of two teachers or
more. No test image is read. Without labels the rows have no accuracies, and pairs of teachers show how far they agree.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from promptkd import logs
from promptkd.engine import command
from promptkd.engine.options import read_options
from promptkd.engine.task import Task
from promptkd.errors import describe
from promptkd.files import write_json
from promptkd.model.precision import Precision
from promptkd.teacher.comparison import Answers, ask, compare
from promptkd.teacher.finding import find_members
from promptkd.teacher.member import Member
from promptkd.teacher.mixture import RULES, Mixture
from trainers.promptkd import PromptKD


def answers_of(words: Sequence[str]) -> tuple[Task, list[Member], Answers]:
    """The task of a command line, its teachers, and what these say of its validation or unlabelled images.

    Raises:
        FileNotFoundError, ValueError: a word or a teacher that does not fit.
    """
    cfg = command.configure(command.parser().parse_args(["--trainer", "PromptKD", *words]))
    options = read_options(PromptKD.Options, "PromptKD", cfg)
    if not options.teachers:
        raise ValueError("TRAINER.PROMPTKD.TEACHERS names the teachers: give two or more")
    task = Task.build(cfg, PromptKD.supervision(cfg))
    device = torch.device("cuda" if cfg.USE_CUDA and torch.cuda.is_available() else "cpu")
    precision = Precision.choose(options.prec, device)
    members = find_members(cfg, options, task, precision)
    answers = ask(task, members, precision)
    if answers is None:
        raise ValueError(f"{cfg.DATASET.NAME} has neither validation nor unlabelled images")
    return task, members, answers


def rows_of(task: Task, members: Sequence[Member], answers: Answers) -> list[dict[str, Any]]:
    """A row for each teacher, then for each rule and choice of teachers: "teachers" (from 1), "mix", accuracies."""
    numbers = range(len(members))
    alone = compare(answers, task.groups, Mixture())["each"]
    rows = [{"teachers": [number + 1], "mix": ""} | alone[number]["accuracy"] for number in numbers]
    for size in range(2, len(members) + 1):
        for chosen in itertools.combinations(numbers, size):
            some = Answers([answers.logits[number] for number in chosen], answers.labels, answers.images)
            for rule in RULES:
                if rule != "weights":  # which only its user knows
                    found = compare(some, task.groups, Mixture(rule))
                    rows.append({"teachers": [n + 1 for n in chosen], "mix": rule} | found["mixture_accuracy"])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="", help="a file for the numbers")
    args, words = parser.parse_known_args(argv)
    logs.show()
    try:
        task, members, answers = answers_of(words)
    except (ValueError, OSError) as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    rows = rows_of(task, members, answers)
    teachers = [member.about() for member in members]
    pairs = compare(answers, task.groups, Mixture())["pairs"]
    for number, about in enumerate(teachers, 1):
        print(f"{number}: {about['trainer']} {about['backbone']}, {about['source']}")
    shown = [{**row, "teachers": "+".join(map(str, row["teachers"]))} for row in rows]
    print(tabulate(shown, headers="keys", floatfmt=".2f"))
    print(tabulate([{**one, "between": "{}-{}".format(*one["between"])} for one in pairs], "keys", floatfmt=".2f"))
    if args.json:
        found = {"images": answers.images, "number": len(answers.labels), "teachers": teachers}
        write_json(Path(args.json), found | {"rows": rows, "pairs": pairs})
    return 0


if __name__ == "__main__":
    sys.exit(main())
