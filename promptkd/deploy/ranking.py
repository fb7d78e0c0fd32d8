"""What every classifier of this package does with its logits, whatever computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from promptkd.deploy.preprocessing import Preprocessing
    from promptkd.deploy.rejection import Rejection


class ImageClassifier(Protocol):
    """A classifier of PIL images, of any size and mode: PyTorch's `Classifier` or `OnnxClassifier`.

    Attributes:
        preprocessing: from an image to the model's input.
        temperature: T, by which logits are divided already; 1 where none was fitted.
        rejection: when an image is none of the classes; None where that was not chosen.
        about: what is known of its origin: "trainer", "backbone", "dataset", ... -> text.
    """

    preprocessing: Preprocessing
    temperature: float
    rejection: Rejection | None
    about: dict[str, str]

    @property
    def classnames(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of the probabilities."""

    def restrict(self, classnames: Sequence[str]) -> None:
        """Chooses among these classes only; raises ValueError for a name that it does not have."""

    def probabilities(self, images: Sequence[Image.Image]) -> Any:
        """B images -> (B, C) float32, a row sums to 1: a tensor on the CPU, of `OnnxClassifier` an array."""

    def logits(self, images: Sequence[Image.Image]) -> Any:
        """B images -> (B, C) float32, scaled cosine similarities divided by T; of the same kind."""

    def features(self, images: Sequence[Image.Image]) -> Any:
        """B images -> (B, D) float32, not normalised; of the same kind."""

    def pixels(self, images: Sequence[Image.Image]) -> np.ndarray:
        """B images -> what `logits_of` takes, made by threads while others are classified; of a shape of its own."""

    def logits_of(self, pixels: np.ndarray) -> np.ndarray:
        """What `pixels` made of B images -> (B, C) float32 logits, an array."""

    def predict(self, image: Image.Image, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes of an image with their probabilities, the likeliest first."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """(B, C) -> (B, C) float32, each row sums to 1."""
    import numpy as np

    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def likeliest(probabilities: np.ndarray, classnames: Sequence[str], top: int) -> list[tuple[str, float]]:
    """The `top` classes of one image, (C,), with their probabilities, the likeliest first; of equals the earlier."""
    order = (-probabilities).argsort(kind="stable")[:top]
    return [(classnames[label], float(probabilities[label])) for label in order.tolist()]
