"""A finished run as a classifier of images: its image encoder, what it learned, and its class vectors; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    import torch
    from PIL import Image
    from torch import Tensor
    from yacs.config import CfgNode


class Deployed:
    """Classifies images as the run's own evaluation does, without teacher, text encoder or data set.

    Args:
        directory: a finished run.
        device: where it computes.
        epoch: checkpoint to load; None for the best, else the last.

    Raises:
        FileNotFoundError: the directory holds no run, checkpoint or class vectors.
        ValueError: the run's method makes class vectors for each image anew (CoCoOp), or its parts do not fit.
    """

    def __init__(self, directory: str | Path, device: torch.device | str = "cpu", epoch: int | None = None) -> None:
        directory = Path(directory)
        if not (directory / "config.yaml").is_file():
            raise FileNotFoundError(f"{directory} holds no run: there is no config.yaml")
        import torch
        import yaml
        from yacs.config import CfgNode

        from dassl.data.transforms import build_transform
        from dassl.engine import TRAINER_REGISTRY
        from promptkd import guests
        from promptkd.engine import checkpoints
        from promptkd.engine.config import node_of
        from promptkd.model.class_vectors import FILE_NAME, ClassVectors, scale_of
        from promptkd.model.precision import Precision
        from promptkd.model.zoo import load_clip

        cfg = CfgNode(yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")))
        guests.register()
        trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device}: PyTorch sees no GPU here; use cpu")
        vectors = ClassVectors.load(directory / FILE_NAME)
        options = cfg.TRAINER.get(node_of(cfg.TRAINER.NAME), CfgNode())
        # The text encoder is only needed to build modules that hold a context, which stays unused here.
        clip = load_clip(cfg.MODEL.BACKBONE.NAME, text=trainer.needs_text)
        self.clip = Precision.choose("fp32", self.device).store(clip)
        self.prompts = trainer.rebuild_prompts(options, self.clip, vectors).to(self.device).eval()
        if any(True for _ in self.prompts.parameters()):
            file = checkpoints.latest(directory / trainer.registered_name, epoch)
            checkpoints.load_learned(self.prompts, checkpoints.read_checkpoint(file)["state_dict"], file)
        self.class_vectors = vectors.to(self.device)
        self.logit_scale = scale_of(self.clip)
        transform = build_transform(_input_only(cfg), is_train=False)
        assert transform is not None  # it is only where INPUT.NO_TRANSFORM says so, which a run refuses
        self.transform = transform

    @property
    def classnames(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of the probabilities."""
        return self.class_vectors.classnames

    def restrict(self, classnames: Sequence[str]) -> None:
        """Chooses among these classes only.

        Raises:
            ValueError: one of them has no class vector.
        """
        self.class_vectors = self.class_vectors.select(classnames)

    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """B images -> (B, C) probabilities, float32, on the CPU."""
        import torch

        views = [self.transform(image.convert("RGB")) for image in images]
        with torch.no_grad():
            features = self.prompts.encode_image(self.clip, torch.stack(views).to(self.device))  # of (B, 3, H, W)
            return self.class_vectors.logits(features, self.logit_scale).softmax(dim=-1).cpu()


def _input_only(cfg: CfgNode) -> CfgNode:
    """Dassl's configuration with the run's INPUT, which is all that a transform reads; nothing is printed."""
    from dassl.config import get_cfg_default

    default = get_cfg_default()
    for key, value in cfg.INPUT.items():
        if key not in default.INPUT:  # ours, and of training
            continue
        default.INPUT[key] = tuple(value) if isinstance(default.INPUT[key], tuple) else value
    default.VERBOSE = False
    return default
