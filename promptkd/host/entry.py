"""A train.py for a repository that has none: the field's flags, Dassl's keys, any key of a trainer."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str], file: Path, folder: Path) -> None:
    """Trains and tests, or evaluates, the trainer that a file registers.

    Args:
        words: as those of train.py.
        file: the trainer's.
        folder: the repository's, in which its modules are looked for.
    """
    from yacs.config import CfgNode

    from dassl.config import get_cfg_default
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed, setup_logger
    from promptkd.engine.command import parser
    from promptkd.engine.published_options import OPTIONS, SECTIONS

    args = parser().parse_args(list(words))
    _import(file, folder)
    cfg = get_cfg_default()
    for node, options in OPTIONS.items():
        cfg.TRAINER[node] = CfgNode(options)
    for section, options in SECTIONS.items():
        cfg[section] = CfgNode(options)
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    cfg.set_new_allowed(True)
    for path in filter(None, (args.dataset_config_file, args.config_file)):
        cfg.merge_from_file(path)
    cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.SEED, cfg.TRAINER.NAME = args.root, args.output_dir, args.seed, args.trainer
    for key, value in zip(args.opts[::2], args.opts[1::2], strict=True):
        *sections, last = key.split(".")
        node = cfg
        for section in sections:
            node = node.setdefault(section, CfgNode(new_allowed=True))
        if last not in node:
            node[last] = CfgNode._decode_cfg_value(value)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    else:
        trainer.train()  # type: ignore[call-arg]  # SimpleTrainer's takes nothing


def _import(file: Path, folder: Path) -> None:
    """Imports a file under the name that it has in its repository, as `trainers.coop`."""
    name = ".".join(file.relative_to(folder).with_suffix("").parts)
    if all(part.isidentifier() for part in name.split(".")):
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no file of Python")
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
