"""What a repository's training and evaluation did, seen at Dassl's own objects."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import defaultdict
from pathlib import Path
from typing import Any


class Watch:
    """Notes the trainer that is built, its configuration, and what Dassl's evaluator says.

    Args:
        sign: a file that is touched while something goes on.
    """

    def __init__(self, sign: Path) -> None:
        self.sign, self._touched = sign, 0.0
        self.trainer: Any = None
        self.cfg: Any = None
        self.evaluation: dict[str, Any] = {}  # the last one

    def install(self) -> None:
        """Puts itself between Dassl and the repository."""
        from torch.optim.optimizer import register_optimizer_step_post_hook

        from dassl.engine import simple
        from dassl.evaluation import EVALUATOR_REGISTRY

        register_optimizer_step_post_hook(lambda *_: self.touch())
        initialise, find = simple.SimpleTrainer.__init__, EVALUATOR_REGISTRY.get

        @functools.wraps(initialise)
        def noted(trainer: Any, cfg: Any) -> None:
            self.trainer, self.cfg = trainer, cfg
            initialise(trainer, cfg)

        def watched(name: str) -> Any:
            kind = find(name)
            return lambda *args, **options: self._evaluator(kind(*args, **options), options.get("lab2cname") or {})

        simple.SimpleTrainer.__init__ = noted  # type: ignore[method-assign, assignment]
        EVALUATOR_REGISTRY.get = watched  # type: ignore[method-assign]

    def touch(self) -> None:
        """Gives a sign of life, once a second at most."""
        if time.monotonic() - self._touched > 1:
            self._touched = time.monotonic()
            with contextlib.suppress(OSError):
                self.sign.touch()

    def _evaluator(self, evaluator: Any, names: dict[int, str]) -> Any:
        """An evaluator whose measures are noted, with the accuracy of each class."""
        reset, process, evaluate = evaluator.reset, evaluator.process, evaluator.evaluate
        counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])  # label -> right, all

        def forget() -> None:
            counts.clear()
            reset()

        def add(mo: Any, gt: Any, *more: Any) -> None:
            self.touch()
            with contextlib.suppress(AttributeError, TypeError, RuntimeError):  # outputs of another form
                for right, label in zip((mo.argmax(1) == gt).tolist(), gt.tolist(), strict=True):
                    counts[label][0] += right
                    counts[label][1] += 1
            process(mo, gt, *more)

        def measure() -> Any:
            results = evaluate()
            self.evaluation = {str(key): float(value) for key, value in dict(results).items()}
            self.evaluation["images"] = sum(images for _, images in counts.values())
            self.evaluation["classes"] = len(names)
            self.evaluation["per_class"] = {
                str(names.get(label, label)): 100.0 * right / images for label, (right, images) in counts.items()
            }
            return results

        evaluator.reset, evaluator.process, evaluator.evaluate = forget, add, measure
        return evaluator

    def report(self) -> dict[str, Any]:
        """What is known in the end, as JSON can hold it."""
        about: dict[str, Any] = dict(self.evaluation)
        if self.cfg is not None:
            about |= {"dataset": str(self.cfg.DATASET.NAME), "backbone": str(self.cfg.MODEL.BACKBONE.NAME)}
            about |= {"epochs": int(self.cfg.OPTIM.MAX_EPOCH), "final_model": str(self.cfg.TEST.FINAL_MODEL)}
        models = getattr(self.trainer, "_models", {}).values()
        about["learned_parameters"] = sum(p.numel() for model in models for p in model.parameters() if p.requires_grad)
        with contextlib.suppress(AttributeError, TypeError):
            about["train_images"] = len(self.trainer.train_loader_x.dataset)
        return about
