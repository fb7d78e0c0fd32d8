"""Words of the published commands of UPL and TFUP, and what they mean here: data, and small functions.

UPL (arXiv 2204.03649) has one name for a trainer, registers each data set again with SS before its name, and takes its
settings as bare words; TFUP (arXiv 2404.16339) has a program of its own, with a data set's domain as a flag.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from promptkd.bounded import shown

log = logging.getLogger(__name__)

TRAINERS = {"UPLTrainer": "UPL"}
# A key of a published file or command that means nothing here -> what to write instead.
INSTEAD = {
    "TRAINER.UPLTrainer": "write TRAINER.UPL",
    "TRAINER.ENSEMBLE_NUM": "write TRAINER.UPL.MEMBERS",
    "MODEL.PSEUDO_LABEL_MODELS": "write TRAINER.UPL.LABELLERS, names by commas, as RN50,ViT-B/16",
    "DATASET.CLASS_EQULE": "leave it out, the published UPL reads it in a function that nothing calls",
    "DATASET.CONF_THRESHOLD": "leave it out, the published UPL reads it in a function that nothing calls",
    "TRAINER.TFUP.alpha": "write TRAINER.TFUP.ALPHA",
    "TRAINER.TFUP.beta": "write TRAINER.TFUP.BETA",
    "TRAINER.TFUP.cache_proportion": "write TRAINER.TFUP.CACHE_PROPORTION",
    "TRAINER.TFUP.training_proportion": "write TRAINER.TFUPT.TRAINING_PROPORTION",
    "TRAINER.TFUP.ratio_alpha": "leave it out, TFUPT has the published 0.2",
    "TRAINER.TFUP.ratio_beta": "leave it out, TFUPT has the published 0.5",
    "TRAINER.TFUP.PATH_TO_PROMPTS": "write TRAINER.TFUP.DESCRIPTIONS, or TRAINER.TFUPT.DESCRIPTIONS",
}
_UPL_FORM = "DATASET RECIPE end N_CTX K False [True [TAG]]"
_POSITIONS = ("end", "middle", "front")
_SWITCHES = ("True", "False")


class UplWords(NamedTuple):
    """What UPL's bare words ask for.

    Attributes:
        recipe: a name in configs/trainers/UPL; "" where there were no such words.
        shots: K, pseudo-labels a class; -1 where there were no such words.
        options: dotted key -> word.
    """

    recipe: str = ""
    shots: int = -1
    options: dict[str, str] = {}


def trainer_meant(name: str, known: Collection[str] = ()) -> str:
    """The trainer that a published name means, with a line where it is another one; a known name is itself."""
    if name in known or name not in TRAINERS:
        return name
    log.info(f"{name} is {TRAINERS[name]} here")
    return TRAINERS[name]


def dataset_meant(name: str, known: Collection[str]) -> str:
    """The data set that a name with UPL's prefix means: SSEuroSAT -> EuroSAT, sseurosat -> eurosat.

    Args:
        name: as it is given.
        known: names of data sets here. One of them is itself, and what means none of them stays as it is.
    """
    rest = name[2:]
    if name in known or not name.startswith(("SS", "ss")) or rest not in known:
        return name
    log.info(f"{name} is {rest} here")
    return rest


def pairs_meant(pairs: dict[str, str]) -> dict[str, str]:
    """KEY -> VALUE of a command line, with TRAINER.UPL in the place of the published TRAINER.UPLTrainer.

    Raises:
        ValueError: a key is given under both names.
    """
    meant: dict[str, str] = {}
    for key, value in pairs.items():
        name = re.sub(r"^TRAINER\.UPLTrainer\.", "TRAINER.UPL.", key)
        if name != key and name in pairs:
            raise ValueError(f"{key} is {name} here, which is given too: leave one out")
        meant[name] = value
    return meant


def take_tfup_flags(words: list[str], learns: bool) -> dict[str, str]:
    """Options that the flags of TFUP's program ask for; they are taken from the words, `--config` leaves a data set.

    Args:
        words: of a command line, as --config configs/office_home.yaml --domain_name art.
        learns: whether TFUP-T is run, which TFUP's program calls --training.

    Raises:
        ValueError: a flag without a value, or --training for TFUP.
    """
    options: dict[str, str] = {}
    if "--training" in words:
        refuse_training(learns)
        words.remove("--training")
    for flag in ("--config", "--domain_name"):
        if flag not in words:
            continue
        place = words.index(flag)
        if place + 1 == len(words):
            raise ValueError(f"{flag} has no value: give one, or leave it out")
        value = words[place + 1]
        del words[place : place + 2]
        if flag == "--config":
            words.insert(0, Path(value).stem)
        else:
            options["DATASET.DOMAIN"] = value
    return options


def refuse_training(learns: bool) -> None:
    """Raises ValueError where `--training`, a flag of TFUP's program, stands beside a method that is not TFUP-T."""
    if not learns:
        raise ValueError(
            "--training is TFUP-T, here a method of its own: write --trainer TFUPT, or bash scripts/tfupt/few_shot.sh"
        )


def take_upl_words(words: list[str]) -> UplWords:
    """UPL's bare words behind the data set, as `rn50_ep50 end 16 16 False True TAG`, which are taken away.

    They are the recipe, the place of the class name, the context's tokens, K, one context per class, and two that
    change nothing: classes of equal size, and a name for the run's folder.

    Raises:
        ValueError: words of the labelling pass (`anay_rn50 ... -1`), or one that is none of these.
    """
    if words and words[0].startswith("anay_"):
        raise ValueError(
            f"{shown(words[0])[1:-1]} is UPL's labelling pass, which is part of a run here: name the CLIPs by "
            "TRAINER.UPL.LABELLERS, and leave it out, as bash scripts/upl/few_shot.sh caltech101 16"
        )
    if len(words) < 2 or not re.fullmatch(r"[a-z]\w*", words[0]) or words[1] not in _POSITIONS:
        return UplWords()
    if len(words) < 5 or not all(re.fullmatch("[1-9][0-9]*", word) for word in words[2:4]) or words[4] not in _SWITCHES:
        raise ValueError(f"UPL's published words are {_UPL_FORM}, got {shown(' '.join(words[:5]))}")
    recipe, position, tokens, shots, per_class = words[:5]
    del words[:5]
    without_effect = [words.pop(0)] if words and words[0] in _SWITCHES else []
    if without_effect and words and re.fullmatch(r"[A-Za-z]\w*", words[0]):
        without_effect.append(words.pop(0))
    if without_effect:
        log.info(f"{' '.join(without_effect)}: changes nothing, in the published code either")
    options = {"N_CTX": tokens, "CSC": per_class, "CLASS_TOKEN_POSITION": position}
    return UplWords(recipe, int(shots), {f"TRAINER.UPL.{key}": value for key, value in options.items()})
