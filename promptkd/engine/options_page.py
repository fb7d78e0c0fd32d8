"""The page of all options, docs/options.md, from their declarations: `python train.py --options > docs/options.md`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from promptkd.data.benchmark import DATASET_DEFAULTS, DATASET_KEYS
from promptkd.engine import config
from promptkd.engine.checks import NOT_READ, value_of
from promptkd.engine.options import MethodOptions
from promptkd.home import ROOT
from promptkd.results.settings import sections_of

INTRODUCTION = """\
# Options

Every option with its default and its meaning, made by `python train.py --options > docs/options.md` from the
declarations in the code (a test compares them); with a method of your own in `trainers/` the command lists its options
too.

On the command line an option is a pair behind the flags, as `TRAINER.PROMPTKD.KD_WEIGHT 200`; in a YAML file it is
nested. Later sources win: the defaults, `configs/base.yaml`, the data set's file, the recipe (`--config-file`), the
recipe's `PER_DATASET` options for this data set, flags, pairs. A key that does not exist is refused with the closest
one that does. The defaults below are those after `configs/base.yaml`; where it differs from Dassl, Dassl's is in
brackets. `config.yaml` of a run holds all of its values.
"""

_OWN_MODELS = "of Dassl's own models, prompt trainers do not read it"
# What Dassl's keys mean here; `_page` fails where one is missing.
DASSL = {
    "VERSION": "of Dassl's configuration; nothing reads it",
    "OUTPUT_DIR": "directory of the run (`--output-dir`)",
    "RESUME": "directory of the run to go on from, where it is not OUTPUT_DIR (`--resume`)",
    "SEED": "of all random numbers (`--seed`); negative: not fixed",
    "USE_CUDA": "compute on a GPU where there is one",
    "VERBOSE": "show Dassl's full log and the configuration on the screen too; log.txt has them always",
    "INPUT.SIZE": "height and width of images, pixels; must be the model's",
    "INPUT.INTERPOLATION": "of resizing: bilinear, bicubic or nearest",
    "INPUT.TRANSFORMS": (
        "of training images (`--transforms`): random_translation, random_crop, random_resized_crop, random_flip, "
        "imagenet_policy, cifar10_policy, svhn_policy, randaugment, colorjitter, randomgrayscale, gaussian_blur, "
        "cutout, normalize, gaussian_noise, instance_norm; applied in this order"
    ),
    "INPUT.NO_TRANSFORM": "images as they are; prompt trainers refuse True",
    "INPUT.PIXEL_MEAN": "of normalize, by channel; must be the model's",
    "INPUT.PIXEL_STD": "of normalize, by channel; must be the model's",
    "INPUT.CROP_PADDING": "pixels around the image before random_crop",
    "INPUT.RRCROP_SCALE": "least and largest share of the image's area in random_resized_crop",
    "INPUT.CUTOUT_N": "holes of cutout",
    "INPUT.CUTOUT_LEN": "their side, pixels",
    "INPUT.GN_MEAN": "of gaussian_noise",
    "INPUT.GN_STD": "of gaussian_noise",
    "INPUT.RANDAUGMENT_N": "operations of randaugment",
    "INPUT.RANDAUGMENT_M": "their strength",
    "INPUT.COLORJITTER_B": "brightness of colorjitter",
    "INPUT.COLORJITTER_C": "contrast of colorjitter",
    "INPUT.COLORJITTER_S": "saturation of colorjitter",
    "INPUT.COLORJITTER_H": "hue of colorjitter",
    "INPUT.RGS_P": "probability of randomgrayscale",
    "INPUT.GB_P": "probability of gaussian_blur",
    "INPUT.GB_K": "its kernel, pixels",
    "DATASET.ROOT": "folder that holds the data sets (`--root`); without one `data`",
    "DATASET.NAME": "registered name of the data set; the files of `configs/datasets` set it",
    "DATASET.SOURCE_DOMAINS": "of data sets with domains (`--source-domains`); those here have one",
    "DATASET.TARGET_DOMAINS": "of data sets with domains (`--target-domains`); those here have one",
    "DATASET.NUM_LABELED": "labelled images, of semi-supervised data sets",
    "DATASET.NUM_SHOTS": "labelled training images a class; below 1: all",
    "DATASET.VAL_PERCENT": "share of validation images in data sets that have none",
    "DATASET.STL10_FOLD": "of STL-10",
    "DATASET.CIFAR_C_TYPE": "of CIFAR-C",
    "DATASET.CIFAR_C_LEVEL": "of CIFAR-C",
    "DATASET.ALL_AS_UNLABELED": "add the labelled images to the unlabelled ones of semi-supervised data sets",
    "DATALOADER.NUM_WORKERS": "processes that read images; more than the cores are not started",
    "DATALOADER.K_TRANSFORMS": "views of a training image; prompt trainers take 1",
    "DATALOADER.RETURN_IMG0": "also the image without augmentation",
    "DATALOADER.TRAIN_X.SAMPLER": (
        "order of training images: RandomSampler, SequentialSampler, RandomClassSampler, RandomDomainSampler, "
        "SeqDomainSampler; several processes need RandomSampler"
    ),
    "DATALOADER.TRAIN_X.BATCH_SIZE": "training images a step, of all processes together",
    "DATALOADER.TRAIN_X.N_DOMAIN": "domains of a batch of RandomDomainSampler and SeqDomainSampler",
    "DATALOADER.TRAIN_X.N_INS": "images of each class in a batch of RandomClassSampler",
    "DATALOADER.TRAIN_U.*": "the same for a second, unlabelled list of images, which no data set here has",
    "DATALOADER.TEST.SAMPLER": "order of test images",
    "DATALOADER.TEST.BATCH_SIZE": "test images at a time",
    "MODEL.INIT_WEIGHTS": "checkpoint whose learned tensors the prompts start from",
    "MODEL.BACKBONE.NAME": "the CLIP (`--backbone`): a name or a weight file",
    "MODEL.BACKBONE.PRETRAINED": _OWN_MODELS,
    "MODEL.HEAD.*": _OWN_MODELS,
    "OPTIM.NAME": "sgd, adam, adamw, amsgrad, rmsprop or radam",
    "OPTIM.LR": "learning rate",
    "OPTIM.WEIGHT_DECAY": "L2 penalty; adamw decouples it",
    "OPTIM.MOMENTUM": "of sgd and rmsprop",
    "OPTIM.SGD_DAMPNING": "dampening of sgd's momentum",
    "OPTIM.SGD_NESTEROV": "Nesterov's momentum in sgd",
    "OPTIM.RMSPROP_ALPHA": "smoothing of rmsprop",
    "OPTIM.ADAM_BETA1": "of adam, adamw, amsgrad, radam",
    "OPTIM.ADAM_BETA2": "of adam, adamw, amsgrad, radam",
    "OPTIM.STAGED_LR": "modules that are not in NEW_LAYERS learn at LR x BASE_LR_MULT",
    "OPTIM.NEW_LAYERS": "of STAGED_LR: names among what is learned, as projector",
    "OPTIM.BASE_LR_MULT": "of STAGED_LR",
    "OPTIM.LR_SCHEDULER": "cosine, single_step or multi_step, by epochs",
    "OPTIM.STEPSIZE": "single_step: epochs between two factors of GAMMA, not positive: never; multi_step: their epochs",
    "OPTIM.GAMMA": "of the step schedules",
    "OPTIM.MAX_EPOCH": "epochs",
    "OPTIM.WARMUP_EPOCH": "epochs of warm-up before the schedule; not positive: none",
    "OPTIM.WARMUP_TYPE": "constant (WARMUP_CONS_LR) or linear (from WARMUP_MIN_LR to LR)",
    "OPTIM.WARMUP_CONS_LR": "learning rate of a constant warm-up",
    "OPTIM.WARMUP_MIN_LR": "first learning rate of a linear warm-up",
    "OPTIM.WARMUP_RECOUNT": "the schedule counts its epochs from the end of the warm-up",
    "TRAIN.CHECKPOINT_FREQ": "keep the checkpoint of every Nth epoch beside the newest; 0: the newest alone",
    "TRAIN.PRINT_FREQ": "batches between two of Dassl's lines, which go to log.txt",
    "TRAIN.COUNT_ITER": "of Dassl's trainers with two lists of images, prompt trainers do not read it",
    "TEST.EVALUATOR": "Dassl's evaluator",
    "TEST.PER_CLASS_RESULT": "also the mean accuracy over classes; results.json has each class's in any case",
    "TEST.COMPUTE_CMAT": "write the confusion matrix to cmat.pt; of several class groups the last one's",
    "TEST.NO_TEST": "train without an evaluation",
    "TEST.SPLIT": "what is evaluated; must be test",
    "TEST.FINAL_MODEL": (
        "the epoch that is evaluated and kept: last_step, best_val (by validation images) or "
        "best_on_test_as_published (by TEST images of the first class group, as the published PromptKD)"
    ),
    "TRAINER.NAME": "registered name of the method (`--trainer`)",
}


def page(flags: argparse.ArgumentParser) -> str:
    """The page in Markdown: flags, the options of every registered method, and all other keys.

    Args:
        flags: the command line of train.py.

    Raises:
        KeyError: a key of Dassl's that has no meaning in DASSL.
    """
    plain = config.default_config(DATASET_DEFAULTS)
    base = plain.clone()
    config.merge_file(base, ROOT / "configs" / "base.yaml")
    parts = [INTRODUCTION, "## Flags of train.py\n", _table(["flag", "meaning"], _flag_rows(flags)), "## Methods\n"]
    for name in sorted(TRAINER_REGISTRY.registered_names()):
        trainer = TRAINER_REGISTRY.get(name)
        if hasattr(trainer, "Options"):
            sections = sections_of(name)
            parts += [f"### {name}: `TRAINER.{sections[0]}.`\n", f"{_first_line(trainer)}\n"]
            if len(sections) > 1:
                parts.append(f"The options of {name.rpartition('_')[0]}, and in `TRAINER.{sections[1]}.`:\n")
            kind = (trainer.Options, *trainer.AddedOptions)[-1]
            parts.append(_table(["option", "default", "meaning"], _method_rows(kind)))
    ours = config.KEYS | {f"DATASET.{key}": entry for key, entry in DATASET_KEYS.items()}
    rows = [(f"`{key}`", _shown(value_of(base, key)), meaning) for key, (_, meaning) in ours.items()]
    parts += ["## Keys of this project\n", _table(["key", "default", "meaning"], rows)]
    parts += ["## Keys of Dassl\n", _table(["key", "default", "meaning"], _dassl_rows(base))]
    return "\n".join(parts)


def _flag_rows(flags: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in flags._actions:
        if action.option_strings:
            yield f"`{action.option_strings[-1]}`", action.help or ""


def _method_rows(options: type[MethodOptions]) -> Iterator[tuple[str, str, str]]:
    for entry in fields(options):
        if entry.default is not MISSING:
            yield f"`{entry.name.upper()}`", _shown(entry.default), entry.metadata.get("meaning", "") + _limits(entry)


def _limits(entry: Field[Any]) -> str:
    """What values an option may have, where its meaning does not say it."""
    limits = entry.metadata
    if limits.get("least") is not None:
        return f"; {limits['least']:g} or more"
    if limits.get("above") is not None:
        return f"; above {limits['above']:g}"
    choices = [str(choice) for choice in limits.get("choices", ()) if str(choice) not in limits["meaning"]]
    return f"; only {' or '.join(choices)}" if choices else ""


def _dassl_rows(base: CfgNode) -> Iterator[tuple[str, str, str]]:
    """Rows of Dassl's keys; a section whose keys share a meaning is one row."""
    default, sections = get_cfg_default(), set()
    for key in leaves(default):
        section = f"{key.rpartition('.')[0]}.*"
        if section in DASSL:
            if section not in sections:
                yield f"`{section}`", "", DASSL[section]
            sections.add(section)
            continue
        value, before = _shown(value_of(base, key)), _shown(value_of(default, key))
        refused = f"not read, prompt trainers refuse another value ({DASSL[key]})"
        meaning = refused if key in NOT_READ else DASSL[key]
        yield f"`{key}`", value if value == before else f"{value} ({before})", meaning


def leaves(node: CfgNode, prefix: str = "") -> Iterator[str]:
    """Dotted names of all values of a configuration."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _first_line(trainer: type) -> str:
    return (trainer.__doc__ or "").strip().partition("\n")[0]


def _shown(value: Any) -> str:
    """A value as it is written on a command line."""
    return f"`{value}`" if value != "" else '`""`'


def _table(heads: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [
        heads,
        ["---"] * len(heads),
        *([cell.replace("|", "\\|").replace("<", "\\<") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
