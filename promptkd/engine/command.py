"""One run: configuration -> trainer -> train, evaluate, results.json.

    python train.py --root DATA --seed 1 --trainer PromptKD --dataset-config-file configs/datasets/eurosat.yaml \
        --config-file configs/trainers/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx.yaml --output-dir output/kd \
        TRAINER.PROMPTKD.TEACHER output/teacher

Later sources win: Dassl's defaults, configs/base.yaml, the data set's file, the recipe, the recipe's options for this
data set, the options below, trailing KEY VALUE pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promptkd import exits
from promptkd.errors import describe
from promptkd.home import ROOT, expanded
from promptkd.written import pairs_of, whole_number

if TYPE_CHECKING:
    from yacs.config import CfgNode

    from promptkd.engine.not_read import NotRead

log = logging.getLogger(__name__)
BASE = ROOT / "configs" / "base.yaml"


class _Once(argparse.Action):
    """A flag that stands on a command line once, or again with the same words."""

    def __call__(
        self, parser: argparse.ArgumentParser, args: argparse.Namespace, values: Any, flag: Any = None
    ) -> None:
        given = vars(args).setdefault("flags", {})
        if given.setdefault(self.dest, values) != values:
            raise ValueError(f"{flag} is given twice, as {given[self.dest]!r} and as {values!r}: give it once")
        setattr(args, self.dest, values)


def parser() -> argparse.ArgumentParser:
    """The field's command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    texts: dict[str, Any] = {"default": "", "action": _Once}
    lists: dict[str, Any] = {"default": None, "nargs": "+", "action": _Once}
    whole: dict[str, Any] = {"default": None, "type": whole_number, "action": _Once}
    p.add_argument("--root", **texts, help="folder that holds the data sets (DATASET.ROOT)")
    p.add_argument("--output-dir", **texts, help="where the run goes (OUTPUT_DIR)")
    p.add_argument("--resume", **texts, help="run to continue, where it is not --output-dir")
    p.add_argument("--seed", **whole, help="0 or more fixes the run; negative: not fixed")
    p.add_argument("--source-domains", **lists, help="of Dassl's data sets with domains; here it is DATASET.DOMAIN")
    p.add_argument("--target-domains", **lists, help="of Dassl's data sets with domains; here it is DATASET.DOMAIN")
    p.add_argument("--domain_name", **texts, help="DATASET.DOMAIN, as the published TFUP calls it")
    p.add_argument("--training", action="store_true", help="stands in published commands of TFUP-T, with TFUPT alone")
    p.add_argument("--transforms", **lists, help="training transforms (INPUT.TRANSFORMS)")
    p.add_argument("--config-file", **texts, help="recipe of the method")
    p.add_argument("--dataset-config-file", **texts, help="configs/datasets/<name>.yaml")
    p.add_argument("--trainer", **texts, help="method (TRAINER.NAME)")
    p.add_argument("--backbone", **texts, help="CLIP (MODEL.BACKBONE.NAME)")
    p.add_argument("--head", **texts, help="head of Dassl's own models (MODEL.HEAD.NAME)")
    p.add_argument("--eval-only", action="store_true", help="evaluate --model-dir and stop")
    p.add_argument("--model-dir", **texts, help="run to evaluate")
    p.add_argument("--load-epoch", **whole, help="its epoch; default: the best, else the last")
    p.add_argument("--no-train", action="store_true", help="build everything and stop: a check of the configuration")
    p.add_argument(
        "--options", action="store_true", help="print every option with its meaning, as docs/options.md, and stop"
    )
    p.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, as TRAINER.PROMPTKD.KD_WEIGHT 200")
    return p


def configure(args: argparse.Namespace, settings: Mapping[str, Any] | None = None) -> CfgNode:
    """Command line -> frozen configuration, checked; see `configured`.

    Raises:
        FileNotFoundError, ValueError: a file or a key that does not exist, a value that does not fit.
    """
    from promptkd.engine.not_read import check_strict

    cfg, entries = configured(args, settings)
    check_strict(cfg, entries)
    return cfg


def configured(args: argparse.Namespace, settings: Mapping[str, Any] | None = None) -> tuple[CfgNode, list[NotRead]]:
    """Command line -> frozen configuration, and the keys among what is given that its run does not read.

    Args:
        args: of the command line.
        settings: dotted key -> value of a results.json, in the place of a recipe.

    Raises:
        FileNotFoundError, ValueError: a file or a key that does not exist, a value that does not fit.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY
    from promptkd import aliases, guests
    from promptkd.data.benchmark import DATASET_DEFAULTS
    from promptkd.engine import config
    from promptkd.engine.checks import check_run
    from promptkd.engine.not_read import keys_not_read
    from promptkd.results.record import FILE_NAME as RESULT

    guests.register()
    cfg = config.default_config(DATASET_DEFAULTS)
    pairs = aliases.pairs_meant(pairs_of(args.opts))
    recipe, of_dataset = expanded(args.config_file), expanded(args.dataset_config_file)
    config.admit(cfg, pairs.get("TRAINER.NAME") or args.trainer or config.trainer_named_in(recipe))
    given: dict[str, str] = {}
    config.merge_file(cfg, BASE)
    default = cfg.clone()
    if of_dataset:
        config.merge_file(cfg, of_dataset, given)
    per_dataset = config.merge_file(cfg, recipe, given) if recipe else {}
    for key, value in (settings or {}).items():
        config.merge_value(cfg, key, value, given, source=RESULT)
    datasets = DATASET_REGISTRY.registered_names()
    name = aliases.dataset_meant(str(pairs.get("DATASET.NAME", cfg.DATASET.NAME)), datasets)
    domain = config.domain_called(name, str(pairs.get("DATASET.DOMAIN", args.domain_name or cfg.DATASET.DOMAIN)))
    for one in (name, f"{name}-{domain}"):
        config.merge(cfg, per_dataset.get(one, {}), f"{recipe} PER_DATASET", given=given)
    for key, value in (_flags(args) | pairs).items():
        config.merge_value(cfg, key, value, given)
    cfg.DATASET.NAME = name
    config.settle_domain(cfg, domain)
    cfg.TRAINER.NAME = named = aliases.trainer_meant(cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names())
    if args.training:
        aliases.refuse_training(named == "TFUPT")
    known = TRAINER_REGISTRY.get(named) if named in TRAINER_REGISTRY.registered_names() else None
    learns = getattr(known, "learns", False)  # a trainer written for upstream says by itself what it misses
    if cfg.EVAL_ONLY and not cfg.MODEL_DIR and learns:
        raise ValueError("--eval-only needs --model-dir, the run whose checkpoint is evaluated")
    if not cfg.DATASET.ROOT:
        cfg.DATASET.ROOT = "data"
    check_run(cfg, known)
    cfg.freeze()
    return cfg, keys_not_read(cfg, known, given, default) if known else []


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    """Dotted key -> value of the flags that are given; an empty one counts as none."""
    flags = {
        "DATASET.ROOT": args.root, "OUTPUT_DIR": args.output_dir, "RESUME": args.resume, "SEED": args.seed,
        "DATASET.DOMAIN": args.domain_name,
        "DATASET.SOURCE_DOMAINS": args.source_domains, "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms, "TRAINER.NAME": args.trainer, "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head, "MODEL_DIR": args.model_dir, "LOAD_EPOCH": args.load_epoch,
        "EVAL_ONLY": args.eval_only or None,
    }  # fmt: skip
    return {key: value for key, value in flags.items() if value not in ("", None)}


def main(argv: Sequence[str] | None = None) -> float | None:
    """Runs one configuration; returns the accuracy (percent) of the first reported class group.

    Started by torchrun it is one process of the run.

    Raises:
        OSError, ValueError and what else a run meets; the command line prints them as one line.
    """
    args = parser().parse_args(argv)  # before anything heavy is imported, so that --help answers at once
    from promptkd import distributed, logs
    from promptkd.engine.not_read import check_strict, warn_of

    if args.options:
        print(options(), end="")
        return None
    with distributed.session():
        logs.show()
        cfg, entries = configured(args)
        check_strict(cfg, entries)
        if distributed.is_main():
            warn_of(entries)
        distributed.connect(cfg.USE_CUDA)
        return run(cfg, build_only=args.no_train)


def options() -> str:
    """The page of all options, docs/options.md, in Markdown."""
    from promptkd import guests
    from promptkd.engine.options_page import page

    guests.register()
    return page(parser())


def run(cfg: CfgNode, build_only: bool = False) -> float | None:
    """`main` for a configuration."""
    from dassl.engine import TRAINER_REGISTRY
    from promptkd import distributed, logs
    from promptkd.results.directory import check_directory

    if not cfg.TRAINER.NAME:
        raise ValueError(f"no method: give --trainer, one of {', '.join(TRAINER_REGISTRY.registered_names())}")
    if not cfg.DATASET.NAME:
        raise ValueError("no data set: give --dataset-config-file, one of configs/datasets, or DATASET.NAME")
    if distributed.world_size() > 1:
        check_several(cfg)
    # What Dassl prints is for log.txt; of a trainer that was written for upstream it is all there is to see.
    known = cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names()
    shown = cfg.VERBOSE or not (known and is_prompt_trainer(TRAINER_REGISTRY.get(cfg.TRAINER.NAME)))
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            check_directory(cfg.OUTPUT_DIR, cfg)
            stack.enter_context(logs.to_file(logs.new_log(cfg.OUTPUT_DIR)))
        stack.enter_context(logs.captured_prints(logging.INFO if shown else logging.DEBUG))
        return _run(cfg, build_only)


def _run(cfg: CfgNode, build_only: bool) -> float | None:
    """Builds the trainer, and trains or evaluates."""
    from dassl.utils import collect_env_info
    from promptkd import distributed
    from promptkd.results.directory import take_directory

    log.log(logging.INFO if cfg.VERBOSE else logging.DEBUG, "** Configuration **\n%s", cfg)
    if cfg.VERBOSE:
        log.info("** Environment **\n%s", collect_env_info())
    trainer = built(cfg)
    if build_only:
        return None
    if distributed.is_main() and not cfg.EVAL_ONLY:
        take_directory(cfg.OUTPUT_DIR, cfg)  # not before: a mistake that building finds leaves the directory free
    if cfg.EVAL_ONLY:
        load_evaluated(trainer, cfg)
        return trainer.test()
    trainer.train()
    return getattr(trainer, "final_accuracy", None)


def built(cfg: CfgNode) -> Any:
    """The trainer of a configuration, made with the random numbers of its seed.

    Raises what its parts raise where the configuration does not fit.
    """
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed
    from promptkd import distributed
    from promptkd.engine.checkpoints import let_dassl_read_safely

    let_dassl_read_safely()
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    if exits.few_files():
        import torch.multiprocessing

        torch.multiprocessing.set_sharing_strategy("file_system")  # the other one has an open file for each tensor
    with distributed.main_first():
        return build_trainer(cfg)


def load_evaluated(trainer: Any, cfg: CfgNode) -> None:
    """Gives a trainer what the run in MODEL_DIR learned: of LOAD_EPOCH where given, else of the best or last epoch.

    Raises what its `load_model` raises where nothing is there, or does not fit.
    """
    trainer.load_model(cfg.MODEL_DIR, epoch=cfg.LOAD_EPOCH if cfg.LOAD_EPOCH >= 0 else None)


def is_prompt_trainer(kind: type) -> bool:
    """Whether a registered trainer is a method on PromptTrainer, not one that was written for upstream."""
    return hasattr(kind, "Options") and hasattr(kind, "losses")


def check_several(cfg: CfgNode) -> None:
    """Raises ValueError for what one process can do, and several cannot."""
    from dassl.engine import TRAINER_REGISTRY

    if not is_prompt_trainer(TRAINER_REGISTRY.get(cfg.TRAINER.NAME)):
        raise ValueError(f"{cfg.TRAINER.NAME} was written for one process: run it without torchrun")
    if cfg.SEED < 0:
        raise ValueError("several processes must draw the same random numbers: give --seed, 0 or more")


def _tells_error() -> bool:
    """Whether this process, of those that torchrun started, tells of the error."""
    distributed = sys.modules.get("promptkd.distributed")  # none, or a half of it, before a session has begun
    tells = getattr(distributed, "tells_error", None)
    return tells is None or bool(tells())


def command_line(argv: Sequence[str] | None = None) -> int:
    """`main` for a shell: an error is one line, and the exit code says that there was one."""
    try:
        exits.allow_many_files()
        exits.note_errors_of_helpers()
        with exits.interruptible():
            main(argv)
    except KeyboardInterrupt:
        return exits.say_interrupted() if _tells_error() else 130
    except AttributeError as error:  # how yacs says that there is no such key
        if not str(error).isupper() or os.environ.get("PROMPT_TRACEBACK"):
            raise
        print(f"error: the trainer reads a key {error} that nobody gives: add it as KEY VALUE", file=sys.stderr)
        return 1
    except (OSError, ValueError, RuntimeError, KeyError, FloatingPointError, MemoryError) as error:
        if os.environ.get("PROMPT_TRACEBACK"):
            raise
        if _tells_error():
            print(f"error: {describe(error)} (PROMPT_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1
    return 0
