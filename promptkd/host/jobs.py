"""The runs of somebody's trainer as jobs of a sweep: one for each data set, number of shots, protocol and seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptkd import home
from promptkd.host.plan import ForeignPlan
from promptkd.host.repository import Repository
from promptkd.sweep.jobs import Job
from promptkd.texts import path_text
from promptkd.written import pairs_of

PROTOCOLS = ("base2new", "fewshot", "cross", "dg", "all")
_OURS = ("SEED", "OUTPUT_DIR", "DATASET.ROOT", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME")
# A flag of the field -> its names in train.py files, in the order in which they are looked for.
_FLAGS = {
    "--root": ("--root", "--dataset_root", "--dataset-root", "--data-root", "--data_root"),
    "--output-dir": ("--output-dir", "--output_dir"),
    "--dataset-config-file": ("--dataset-config-file", "--dataset_config_file", "--dataset_config", "--dataset-config"),
    "--config-file": ("--config-file", "--config_file", "--trainer_config", "--trainer-config"),
    "--eval-only": ("--eval-only", "--eval_only"),
    "--model-dir": ("--model-dir", "--model_dir"),
    "--load-epoch": ("--load-epoch", "--load_epoch"),
}


@dataclass(frozen=True)
class Wish:
    """What is asked of a repository."""

    repository: Repository
    trainer: str
    datasets: Sequence[str]
    protocol: str = "base2new"
    seeds: Sequence[int] = (1, 2, 3)
    shots: Sequence[int] = (16,)
    recipe: str = ""
    options: Sequence[str] = ()
    root: str = "data"
    output: str = "output"
    source: str = "imagenet"
    cpu: bool = False
    data: str = "auto"
    trust: Sequence[str] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    patience: float = 30.0
    words: Sequence[str] = ()


def jobs_of(wish: Wish) -> tuple[list[Job], dict[str, ForeignPlan]]:
    """The jobs, and the plan of each by the job's name; a source's before those that are evaluated elsewhere.

    Raises:
        FileNotFoundError, ValueError: a trainer, recipe, data set or option that does not exist or fit.
    """
    trainer_file = wish.repository.check_trainer(wish.trainer)
    for key in pairs_of(wish.options):
        if key in _OURS:
            raise ValueError(f"{key} is set by --seeds, --output, --root, --shots, --protocol or --trainer")
    subsample = wish.repository.mentions("SUBSAMPLE_CLASSES")
    if wish.protocol == "base2new" and not subsample:
        raise ValueError(
            f"{wish.repository.name} knows no DATASET.SUBSAMPLE_CLASSES, so no base and new classes: "
            "give --protocol fewshot"
        )
    recipe = wish.repository.recipe(wish.trainer, wish.recipe)
    repository = wish.repository
    common = ForeignPlan(
        repository=str(repository.base), name=repository.name, commit=repository.commit,
        changed=list(repository.changed), digest=repository.digest(), trainer=wish.trainer, dataset="",
        protocol=wish.protocol, shots=0, seed=0, root=str(Path(wish.root).expanduser().absolute()),
        directory="", recipe=str(recipe) if recipe else "", options=list(wish.options), cpu=wish.cpu, data=wish.data,
        trust=[str(Path(path).expanduser().absolute()) for path in wish.trust], paths=dict(wish.paths),
        patience=wish.patience, own_file="" if repository.train else str(trainer_file), subsample=subsample,
        flags=_flags(repository), words=list(wish.words),
    )  # fmt: skip
    jobs: dict[str, Job] = {}
    made: dict[str, ForeignPlan] = {}
    for dataset, shots, seed in itertools.product(wish.datasets, wish.shots, wish.seeds):
        one = replace(common, dataset=dataset, shots=shots, seed=seed)
        if wish.protocol not in ("cross", "dg"):
            _add(wish, one, dataset, jobs, made)
            continue
        learning = replace(one, dataset=wish.source, protocol="cross")
        first = _add(wish, learning, wish.source, jobs, made)
        if dataset != wish.source:
            evaluated = replace(one, learned=made[first].directory)
            _add(wish, evaluated, f"{wish.source}_to_{dataset}", jobs, made, (first,))
    return list(jobs.values()), made


def _flags(repository: Repository) -> dict[str, str]:
    """The field's flags -> what a train.py calls them, where that is something else."""
    known = repository.flags()
    return {flag: next((name for name in names if name in known), flag) for flag, names in _FLAGS.items()}


def _add(
    wish: Wish, one: ForeignPlan, where: str, jobs: dict[str, Job], made: dict[str, ForeignPlan],
    needs: tuple[str, ...] = (),
) -> str:  # fmt: skip
    """Adds a run unless it is known; returns its name."""
    one = replace(one, dataset_file=str(dataset_file(wish.repository, one.dataset)))
    method = f"{one.trainer}@{_word(wish.repository.label)}"
    recipe = Path(one.recipe).stem if one.recipe else "default"
    words = pairs_of(one.options)
    recipe += "".join(f"+{key.rpartition('.')[2].lower()}_{_word(value)}" for key, value in words.items())
    folder = Path(one.protocol, where, f"shots_{one.shots}", method, recipe[:120], f"seed{one.seed}")
    name = folder.as_posix()
    one = replace(one, directory=str(Path(wish.output).expanduser().absolute() / folder))
    if name not in jobs:
        command = (*home.command("foreign"), "--job", one.text())
        jobs[name] = Job(name, Path(one.directory), command, one.config_hash(), needs, eval_only=bool(one.learned))
        made[name] = one
    return name


def dataset_file(repository: Repository, name: str) -> Path:
    """The configuration file of a data set: the repository's, else ours.

    Raises:
        ValueError: neither has one of that name.
    """
    folders = (repository.base / "configs" / "datasets", home.ROOT / "configs" / "datasets")
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise ValueError(f"no data set {name!r}: there are {', '.join(known)}")


def _word(text: str) -> str:
    """A text as part of a folder's name."""
    return "".join(c if c.isalnum() or c in ".-+@" else "_" for c in path_text(text))
