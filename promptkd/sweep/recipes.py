"""The recipe of each method, protocol and backbone, and the directories of runs: data, and small functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptkd.bounded import shown
from promptkd.home import ROOT
from promptkd.results.directory import read_configuration
from promptkd.results.settings import sections_of
from promptkd.texts import closest
from promptkd.written import number

CONFIGS = ROOT / "configs"
PROTOCOLS = ("base2new", "fewshot", "cross", "dg")

# Published recipe of each method by protocol, and by protocol and shots; what is not named is trained as for base2new.
RECIPES: dict[str, dict[str, str]] = {
    "ZeroshotCLIP": {"base2new": "vit_b16"},
    "ZeroshotCLIP2": {"base2new": "vit_b16"},
    "CoOp": {
        "base2new": "vit_b16_ctxv1",
        "fewshot": "vit_b16",
        "fewshot_4": "vit_b16_ep100",
        "fewshot_2": "vit_b16_ep100",
        "fewshot_1": "vit_b16_ep50",
        "cross": "vit_b16_ep50_ctxv1",
        "dg": "vit_b16_ep50_ctxv1",
    },
    "CoCoOp": {"base2new": "vit_b16_c4_ep10_batch1_ctxv1"},
    "VPT": {"base2new": "vit_b16_c2_ep5_batch4_4"},
    "IVLP": {"base2new": "vit_b16_c2_ep20_batch4_4+4ctx"},
    "MaPLe": {
        "base2new": "vit_b16_c2_ep5_batch4_2ctx",
        "cross": "vit_b16_c2_ep5_batch4_2ctx_cross_datasets",
        "dg": "vit_b16_c2_ep5_batch4_2ctx_cross_datasets",
    },
    "KgCoOp": {"base2new": "vit_b16_ep100_ctxv1"},
    "PromptSRC": {
        "base2new": "vit_b16_c2_ep20_batch4_4+4ctx",
        "fewshot": "vit_b16_c2_ep50_batch4_4+4ctx_few_shot",
        "cross": "vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets",
        "dg": "vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets",
    },
    "FeatureTeacher": {"base2new": "vit_l14"},
    "PromptKD": {
        "base2new": "vit_b16_c2_ep20_batch8_4+4ctx",
        "cross": "vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets",
        "dg": "vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets",
    },
    "AdvIVLP": {"base2new": "vit_b16_ep100_batch32_2+2ctx_eps1"},
    "FAP": {"base2new": "vit_b16_ep10_batch4_2ctx_eps1"},
    "APD": {"base2new": "vit_b16_ep50_batch32_2+2ctx_eps1"},
    "AdvPromptKD": {"base2new": "vit_b16_c2_ep20_batch8_4+4ctx_eps1"},
    "UPL": {"base2new": "rn50_ep50"},
    "TFUP": {"base2new": "vit_b16"},
    "TFUPT": {"base2new": "vit_b16_ep30"},
    "CoOp_KDPL": {"base2new": "vit_b32_ctxv1"},
    "CoCoOp_KDPL": {"base2new": "vit_b32_c4_ep10_batch1_ctxv1"},
    "VPT_KDPL": {"base2new": "vit_b32_c2_ep5_batch4_4"},
    "MaPLe_KDPL": {"base2new": "vit_b32_c2_ep5_batch4_2ctx"},
    "PromptSRC_KDPL": {
        "base2new": "vit_b32_c2_ep20_batch4_4+4ctx",
        "cross": "vit_b32_c2_ep20_batch4_4+4ctx_cross_datasets",
        "dg": "vit_b32_c2_ep20_batch4_4+4ctx_cross_datasets",
    },
}
# They learn from all training images, without labels; the others from few images a class.
FULL_DATA = {"PromptKD", "AdvPromptKD", "UPL", "TFUP", "TFUPT"}
# Methods that label images themselves -> their options that take the shots, which are images a class that they choose.
PSEUDO_LABELLED = {"UPL": ("SHOTS",), "TFUP": ("SHOTS",), "TFUPT": ("SHOTS", "TRAINING_SHOTS")}
# Options that say how images are made and read: those of a student are its teacher's too.
SHARED = ("INPUT.", "DATALOADER.", "DATASET.", "USE_CUDA", "VERBOSE")
# A student's default teacher: the method, its recipe and its CLIP.
TEACHER = ("PromptSRC", "vit_l14_c2_ep20_batch8_4+4ctx")
TAUGHT_HERE = "{teacher}"  # in TRAINER.PROMPTKD.TEACHERS: the teacher that a student gets where none is named
BENCHMARK = ("caltech101", "dtd", "eurosat", "fgvc_aircraft", "food101", "imagenet", "oxford_flowers", "oxford_pets",
             "stanford_cars", "sun397", "ucf101")  # fmt: skip
VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
# Data sets with domains, each of which is a data set of its own: office_home_art. Without a domain all of them count.
DOMAINS = {
    "office31": ("amazon", "dslr", "webcam"),
    "office_home": ("art", "clipart", "product", "real_world"),
    "visda17": ("real", "synthetic"),
    "domainnet": ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
}
SOURCES_ONLY = ("visda17_synthetic",)  # renderings to learn on, which nobody is tested on
SHOTS = {"fewshot": (1, 2, 4, 8, 16)}  # where the plan names none; (16,) for the other protocols
LEARNS_NOTHING = ("ZeroshotCLIP", "ZeroshotCLIP2", "TFUP")  # one run is enough for all seeds and shots
WITHOUT_EPOCHS = (*LEARNS_NOTHING, "FeatureTeacher")
STUDENTS = (
    "PromptKD",
    "AdvPromptKD",
)  # learn from a teacher; in the few-shot protocol it is the teacher that has few images
# The bundled models have a recipe of their own for every method, "mini", and are the default on the bundled data sets.
MINI_DATASETS = ("emoji", "emoji_shifted", "glyphs")


def recipe(trainer: str, dataset: str, protocol: str = "base2new", backbone: str = "", shots: int = 0) -> str:
    """Name of the recipe in configs/trainers/<trainer>/.

    Args:
        trainer: registered name.
        dataset: name of a file in configs/datasets, with its domain behind it where it has some.
        protocol: one of PROTOCOLS.
        backbone: MODEL.BACKBONE.NAME where the user gives one.
        shots: images a class, on which some recipes depend.

    Raises:
        ValueError: no such method, data set or protocol; the message gives the closest.
    """
    check(trainer, list(RECIPES), "method")
    check(protocol, list(PROTOCOLS), "protocol")
    check(dataset, [one for name in dataset_names() for one in with_domains(name)], "data set")
    special = backbone.replace("-", "_")  # mini_resnet, of a bundled model that the method's own recipe does not suit
    if is_bundled(backbone) and (CONFIGS / "trainers" / trainer / f"{special}.yaml").is_file():
        return special
    if is_bundled(backbone) or (not backbone and dataset in MINI_DATASETS):
        return "mini"
    names = RECIPES[trainer]
    return next(names[key] for key in (f"{protocol}_{shots}", protocol, "base2new") if key in names)


def named(wanted: str, trainer: str, usual: str) -> str:
    """The recipe that RECIPE or a plan names: a file's name, or what stands behind the usual one's: `plus`.

    Args:
        wanted: "" for the usual one; `mini_plus` is a file, and `plus` is `mini_plus` where `mini` is usual.
        trainer: registered name.
        usual: of the method, data set and protocol.
    """
    known = {path.stem for path in (CONFIGS / "trainers" / trainer).glob("*.yaml")}
    behind = f"{usual}_{wanted}"
    return behind if wanted not in known and behind in known else wanted or usual


def dataset_names() -> list[str]:
    """The data sets that there is a file of in configs/datasets, without their domains."""
    return [path.stem for path in (CONFIGS / "datasets").glob("*.yaml")]


def teacher_recipe(dataset: str, backbone: str = "") -> tuple[str, str]:
    """Method and recipe of the teacher that a student on this data set, or of this backbone, gets."""
    trainer, name = TEACHER
    if is_bundled(backbone) or (not backbone and dataset in MINI_DATASETS):
        return trainer, "mini_teacher"
    return trainer, name


def is_bundled(model: str) -> bool:
    """Whether a model is a bundled one, such as mini-teacher and mini-student."""
    return model.startswith("mini-")


def student_backbone(backbone: str, teacher: str) -> str:
    """The backbone by which a student gets its recipe: the user's, else the bundled student's of a bundled teacher.

    Args:
        backbone: MODEL.BACKBONE.NAME where the user gives one; it wins.
        teacher: a model's name, or the directory of a run, whose own backbone counts; "" for none.

    Returns:
        "" where neither says it: then the data set decides.

    Raises:
        ValueError: the run's config.yaml cannot be read.
    """
    if backbone or not teacher:
        return backbone
    if (config := read_configuration(teacher)) is not None:
        teacher = str(config.get("MODEL", {}).get("BACKBONE", {}).get("NAME", ""))
    return "mini-student" if is_bundled(teacher) else ""


def run_directory(
    output: str | Path, protocol: str, dataset: str, trainer: str, name: str, shots: int, seed: int
) -> Path:
    """A run's directory: `<output>/<protocol>/<dataset>/shots_<K>/<trainer>/<recipe>/seed<S>`; K is "all" below 1."""
    kept = shots if shots > 0 else "all"
    return Path(output) / protocol / dataset / f"shots_{kept}" / trainer / name / f"seed{seed}"


def arguments(
    trainer: str, dataset: str, name: str, root: str | Path, seed: int, directory: Path, options: list[str]
) -> list[str]:
    """The arguments of train.py for one run."""
    file, domain = file_and_domain(dataset)
    return [
        *("--root", str(root), "--seed", str(seed), "--trainer", trainer),
        *("--dataset-config-file", str(CONFIGS / "datasets" / f"{file}.yaml")),
        *("--config-file", str(CONFIGS / "trainers" / trainer / f"{name}.yaml")),
        *("--output-dir", str(directory), *options, *(["DATASET.DOMAIN", domain] if domain else [])),
    ]


def with_domains(dataset: str) -> list[str]:
    """The names of a data set's domains, as office_home_art; the data set's own where it has none."""
    return [f"{dataset}_{domain}" for domain in DOMAINS.get(dataset, ())] or [dataset]


def file_and_domain(dataset: str) -> tuple[str, str]:
    """office_home_art -> (office_home, art); the domain is "" where a data set has none."""
    for name in DOMAINS:
        if dataset in with_domains(name):
            return name, dataset.removeprefix(f"{name}_")
    return dataset, ""


def chosen_domains(dataset: str, words: Sequence[str]) -> list[str]:
    """The domains of a data set that a plan is about, each as a data set of its own.

    Args:
        dataset: a name of a plan: with its domain, or without one, which stands for all that are tested on.
        words: names of domains to keep, in any case and with any spaces; none for all.

    Raises:
        ValueError: the data set has no such domain, or none at all.
    """
    file, domain = file_and_domain(dataset)
    names = with_domains(file)
    if not words:
        return [dataset] if domain else [name for name in names if name not in SOURCES_ONLY]
    if file not in DOMAINS:
        raise ValueError(f"DATASET.DOMAIN {words[0]}: {dataset} has no domains")
    plain = {one.replace("_", ""): one for one in DOMAINS[file]}
    kept = []
    for word in words:
        letters = "".join(character for character in word.casefold() if character.isalnum())
        if letters not in plain:
            check(letters, list(plain), f"domain of {file}")
        if domain and plain[letters] != domain:
            raise ValueError(f"DATASET.DOMAIN {word}: the plan names {dataset}; leave one out")
        kept.append(f"{file}_{plain[letters]}")
    return kept


def belongs(key: str, trainer: str) -> bool:
    """Whether an option is this method's: TRAINER.COOP.N_CTX is CoOp's alone, TEACHER.KEY a teacher's."""
    parts = key.split(".")
    if parts[0] == "TEACHER":
        return trainer in STUDENTS
    return parts[0] != "TRAINER" or len(parts) < 3 or parts[1] in sections_of(trainer)


def take_seeds(words: list[str]) -> list[int]:
    """The seeds in front of the words of a command line, which are taken away.

    Raises:
        ValueError: one is given twice, or is written with a 0 in front.
    """
    seeds: list[int] = []
    while words and words[0].isascii() and words[0].isdigit():
        seeds.append(whole("a seed", words.pop(0)))
    if double := {seed for seed in seeds if seeds.count(seed) > 1}:
        raise ValueError(f"seed {min(double)} is given twice")
    return seeds


def whole(name: str, word: str) -> int:
    """The whole number from 0 on that a word stands for.

    Args:
        name: what it is, for the message.
        word: of a command line or the environment.

    Raises:
        ValueError: it stands for none.
    """
    try:
        value = number(word)
    except ValueError as error:
        raise ValueError(f"{name} is {shown(word)}: {error}") from error
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {shown(word)}: give a whole number from 0 on")
    return value


def check(name: str, choices: list[str], what: str) -> None:
    """Raises ValueError where a name is none of the choices, with the closest."""
    if name not in choices:
        close = closest(name, choices, 0.4)
        hint = f"; closest: {close}" if close else ""
        raise ValueError(f"no {what} {shown(name)}{hint}. There are {', '.join(sorted(choices))}")
