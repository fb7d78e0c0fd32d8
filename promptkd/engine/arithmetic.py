"""The arithmetic of a run on a CPU: measured at its start, and kept by whoever goes on with it or evaluates it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from yacs.config import CfgNode

from promptkd import distributed
from promptkd.engine import checkpoints
from promptkd.model.native_bf16 import prefers_bf16
from promptkd.model.precision import Precision

KEY = "arithmetic"  # in the `run` of a checkpoint


def choose_precision(cfg: CfgNode, name: str, device: torch.device, folder: str) -> Precision:
    """The precision of a run: its PREC, and on a CPU what fp16 and amp mean there.

    Of several processes the main one decides. A resumed run, and an evaluation of one, computes as its checkpoint was
    computed, whatever this CPU prefers, so that it gives the same bits.

    Args:
        cfg: the run's.
        name: PREC.
        device: of the run.
        folder: name of the folder of its checkpoints.

    Raises:
        ValueError: PREC is none that there is, or PROMPT_CPU_BF16 neither 0 nor 1.
    """
    if device.type != "cpu" or name not in ("fp16", "amp"):
        return Precision.choose(name, device)
    preferred = prefers_bf16()  # also where it is not needed: a measurement leaves the threads of all runs alike
    before = _stored(cfg, folder)
    bf16 = distributed.of_main(KEY, preferred if before is None else before)
    return Precision.choose(name, device, bf16=bf16)


def _stored(cfg: CfgNode, folder: str) -> bool | None:
    """Whether the run that goes on, or that is evaluated, computed in bfloat16 on a CPU; None where nobody knows."""
    # Whoever loads the checkpoint says what is wrong with it.
    with contextlib.suppress(ValueError, OSError):
        if cfg.EVAL_ONLY:
            path = checkpoints.latest(Path(cfg.MODEL_DIR) / folder, cfg.LOAD_EPOCH if cfg.LOAD_EPOCH >= 0 else None)
        else:
            files = checkpoints.numbered(Path(cfg.RESUME or cfg.OUTPUT_DIR) / folder)
            if not files:
                return None
            path = files[max(files)]
        run = checkpoints.read_checkpoint(path).get("run")
        if isinstance(run, dict):  # that of an earlier version, without the key, was computed in float32
            return {"float32": False, "bfloat16": True}.get(str(run.get(KEY, "float32")))
    return None
