"""A finished run as a classifier of images: its image encoder, what it learned, and its class vectors; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


class Classifier:
    """Classifies images as the run's own evaluation does, without teacher, text encoder or data set.

    Args:
        directory: a finished run, or a model that `promptkd.model.saved.save` has left.
        device: where it computes.
        epoch: checkpoint to load; None for the best, else the last.

    Raises:
        FileNotFoundError: the directory holds no run, checkpoint or class vectors.
        ValueError: the run's method makes class vectors for each image anew (CoCoOp), or its parts do not fit.
    """

    def __init__(self, directory: str | Path, device: torch.device | str = "cpu", epoch: int | None = None) -> None:
        import torch

        from promptkd.deploy.preprocessing import transform_of_model, transform_of_run
        from promptkd.engine.runs import read_run
        from promptkd.model import saved

        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device}: PyTorch sees no GPU here; use cpu")
        if (Path(directory) / saved.TENSORS_FILE).is_file():
            self.model = saved.load(directory, device)
            self.transform: Any = transform_of_model(self.model)
        else:
            run = read_run(directory, epoch)
            self.model = run.model(device)
            self.transform = transform_of_run(run.config)
        if self.model.vectors is None:
            raise FileNotFoundError(f"{directory} has no class vectors: save the model with its class names")
        self.class_vectors = self.model.vectors

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

    def predict(self, image: Image.Image, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes of an image with their probabilities, the likeliest first."""
        values, labels = self.probabilities([image])[0].topk(min(top, len(self.classnames)))
        return [(self.classnames[i], value) for i, value in zip(labels.tolist(), values.tolist(), strict=True)]

    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """B images -> (B, C) probabilities, float32, on the CPU."""
        import torch

        with torch.no_grad():
            pixels = [self.transform(image.convert("RGB")) for image in images]
            batch = torch.stack(pixels).to(self.model.device)  # (B, 3, H, W)
            image_features = self.model.image_features(batch)  # (B, D)
            return self.class_vectors.logits(image_features, self.model.logit_scale).softmax(dim=-1).cpu()
