"""A finished run as a classifier of images: its image encoder, what it learned, and its class vectors; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image
    from torch import Tensor

    from promptkd.model.prompted_clip import PromptedClip


class Classifier:
    """Classifies images as the run's own evaluation does, without teacher, text encoder or data set.

    Images are of any size and mode: they are turned upright by their EXIF tag, transparent parts become white.

    Args:
        directory: a finished run, a folder that `promptkd export --format safetensors` wrote, or a model that
            `promptkd.model.saved.save` has left.
        device: where it computes.
        epoch: checkpoint to load; None for the best, else the last.

    Attributes:
        model: the `PromptedClip`; of a student with a tuned encoder with the tuned weights in it.
        as_learned: the same as the run has it.
        class_vectors: those of the classes among which it chooses.
        preprocessing: from an image to the model's input, described.
        temperature: T, by which logits are divided; 1 where the run fitted none (TEST.TEMPERATURE), or for `epoch`.
        rejection: when an image is none of the classes; None where that was not chosen, or with another temperature.
        about: what is known of its origin: "trainer", "backbone", "dataset", ... -> text.

    Raises:
        FileNotFoundError: the directory holds no run, checkpoint or class vectors.
        ValueError: the run's method makes class vectors for each image anew (CoCoOp), or its parts do not fit.
    """

    def __init__(self, directory: str | Path, device: torch.device | str = "cpu", epoch: int | None = None) -> None:
        import torch

        from promptkd.deploy import export_folder
        from promptkd.deploy.preprocessing import Preprocessing, transform_of_run
        from promptkd.deploy.rejection import Rejection
        from promptkd.engine.runs import read_run
        from promptkd.model import saved
        from promptkd.model.image_side import merged
        from promptkd.results.directory import temperature_of_run

        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device}: PyTorch sees no GPU here; use cpu")
        self.temperature = 1.0
        if export_folder.is_export(directory):
            self.model, self.preprocessing, self.about, self.temperature = export_folder.read(directory, device)
        elif (Path(directory) / saved.TENSORS_FILE).is_file():
            self.model = saved.load(directory, device)
            self.preprocessing = Preprocessing.of_model(self.model)
            self.about = {key: str(value) for key, value in self.model.about.items()}
        else:
            run = read_run(directory, epoch)
            if run.spec.kind == "conditional":
                raise ValueError(
                    f"{directory} is a run of {run.trainer}, which makes its text features for each image anew: it has "
                    "no class vectors to classify with; train.py --eval-only measures it"
                )
            self.model = run.model(device)
            self.preprocessing = Preprocessing.of_run(run.config)
            self.about = {"trainer": run.trainer, "backbone": run.backbone, "dataset": str(run.config.DATASET.NAME)}
            self.temperature = 1.0 if epoch is not None else temperature_of_run(directory)
            self._transform: Any = transform_of_run(run.config)  # the evaluation's
        if not hasattr(self, "_transform"):
            self._transform = self.preprocessing.tensor
        if self.model.vectors is None:
            raise FileNotFoundError(f"{directory} has no class vectors: save the model with its class names")
        self.class_vectors = self.model.vectors
        self.as_learned, self.model = self.model, merged(self.model)
        self.model.logit_scale /= self.temperature
        stored = Rejection.read(directory)
        self.rejection = stored if stored is not None and stored.fits(self.temperature) else None

    @classmethod
    def of_model(cls, model: PromptedClip) -> Classifier:
        """A classifier of a model with class vectors that is in memory already, such as one just trained.

        Raises:
            ValueError: it has no class vectors.
        """
        from promptkd.deploy.preprocessing import Preprocessing
        from promptkd.model.image_side import merged

        if model.vectors is None:
            raise ValueError("the model has no class vectors to classify with")
        self = cls.__new__(cls)
        self.as_learned, self.model = model, merged(model)
        self.class_vectors, self.rejection, self.temperature = model.vectors, None, 1.0
        self.preprocessing = Preprocessing.of_model(model)
        self._transform = self.preprocessing.tensor
        self.about = {key: str(value) for key, value in model.about.items()}
        return self

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
        from promptkd.deploy.ranking import likeliest

        return likeliest(self.probabilities([image])[0].numpy(), self.classnames, top)

    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """B images -> (B, C) probabilities, float32, on the CPU."""
        return self.logits(images).softmax(dim=-1)

    def logits(self, images: Sequence[Image.Image]) -> Tensor:
        """B images -> (B, C) logits `s cos(f, g) / T`, float32, on the CPU."""
        return self._logits_of_features(self._features_of(self.pixels(images))).cpu()

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """B images -> (B, D) image features in the space of the class vectors, not normalised, float32, on the CPU."""
        return self._features_of(self.pixels(images)).float().cpu()

    def pixels(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> (B, 3, H, W) float32, the model's input; runs in any thread."""
        import torch

        from promptkd.data.images import check_shape, upright

        for image in images:
            check_shape(image)
        return torch.stack([self._transform(upright(image)) for image in images]).numpy()

    def logits_of(self, pixels: np.ndarray) -> np.ndarray:
        """What `pixels` made of B images -> (B, C) float32 logits."""
        return self._logits_of_features(self._features_of(pixels)).cpu().numpy()

    def _features_of(self, pixels: np.ndarray) -> Tensor:
        import torch

        with torch.no_grad():
            return self.model.image_features(torch.from_numpy(pixels).to(self.model.device))  # (B, D)

    def _logits_of_features(self, features: Tensor) -> Tensor:
        return self.class_vectors.logits(features, self.model.logit_scale)
