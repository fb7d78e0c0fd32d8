"""The paper's shared text features (PromptKD, arXiv 2403.02781, section 3): class names and one unit vector each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.bounded import named, parse_json, shown, texts
from promptkd.files import replacing
from promptkd.model.parts import Clip
from promptkd.model.prompting import takes_text_prompts
from promptkd.model.templates import check_template
from promptkd.model.text import encode_texts
from promptkd.model.tokens import class_prompt, embed
from promptkd.tensors import read_safetensors
from promptkd.texts import clipped, closest

FILE_NAME = "class_vectors.safetensors"
KINDS = ("unit", "mean")


@dataclass(frozen=True)
class ClassVectors:
    """Text features of C classes, one row each, in the place of a text encoder.

    Attributes:
        classnames: C names.
        features: (C, D), of unit norm, or means of unit vectors.
        logit_scale: the factor of the cosine similarities (exponentiated; 100 for OpenAI's models).
        source: their origin: "made_by", "weights" (a hash), "template", as far as known.
        kind: "unit", or "mean": each is the mean of the unit vectors of an ensemble of prompts, and is not normalised
            again, so that its logits are the mean of theirs (UPL, arXiv 2204.03649).
    """

    classnames: tuple[str, ...]
    features: Tensor
    logit_scale: float
    source: dict[str, str] = field(default_factory=dict)
    kind: str = "unit"

    def select(self, classnames: Sequence[str]) -> ClassVectors:
        """The vectors of these classes, in this order.

        Raises:
            ValueError: a class has no vector; the message has its name and the closest one.
        """
        rows = {name: row for row, name in reversed(list(enumerate(self.classnames)))}
        missing = [name for name in classnames if name not in rows]
        if missing:
            close = closest(missing[0], self.classnames)
            hint = f"; closest: {close!r}" if close else ""
            raise ValueError(
                f"no class vector for {len(missing)} of {len(classnames)} classes, first {missing[0]!r}{hint}: "
                f"they hold {len(self.classnames)} classes, by {self.source.get('made_by', 'an unknown teacher')}"
            )
        index = torch.tensor([rows[name] for name in classnames], device=self.features.device)
        return replace(self, classnames=tuple(classnames), features=self.features[index])

    def to(self, device: torch.device | str) -> ClassVectors:
        """The same vectors on another device."""
        return replace(self, features=self.features.to(device))

    def logits(self, image_features: Tensor, logit_scale: float | Tensor | None = None) -> Tensor:
        """Cosine similarities times a scale: (B, D) un-normalised image features -> (B, C) float32.

        Args:
            image_features: (B, D).
            logit_scale: the image encoder's own scale where it differs from that of the vectors (PromptKD's student).
        """
        scale = self.logit_scale if logit_scale is None else logit_scale
        return cosine_logits(image_features, self.features, scale, self.kind == "unit")

    def save(self, path: str | Path) -> None:
        """Writes the vectors to one safetensors file, atomically; names and source go into its header."""
        header = {"classnames": json.dumps(self.classnames), "source": json.dumps(self.source), "format": "1"}
        if self.kind != "unit":  # which files without a kind are
            header["kind"] = self.kind
        tensors = {
            "features": self.features.detach().float().cpu().contiguous(),
            "logit_scale": torch.tensor(float(self.logit_scale)),
        }
        with replacing(path) as partial:
            save_file(tensors, partial, metadata=header)

    @classmethod
    def load(cls, path: str | Path) -> ClassVectors:
        """Reads a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file holds no class vectors, or some that are not finite, zero, or not one for each name.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no class vectors at {path}: a finished run keeps them as {FILE_NAME} in its directory"
            )
        try:
            return cls._of_file(*read_safetensors(path))
        except ValueError as error:
            reason = clipped(str(error).removeprefix(f"{named(path)} ").removeprefix(f"{named(path)}: "), 300)
            raise ValueError(f"{named(path)} holds no class vectors that can be used ({reason})") from error

    @classmethod
    def _of_file(cls, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> ClassVectors:
        """The vectors of a file's tensors and header; raises ValueError for what makes them useless."""
        if lacking := [name for name in ("features", "logit_scale") if name not in tensors]:
            raise ValueError(f"no tensor {' and no '.join(lacking)}")
        if "classnames" not in header:
            raise ValueError("no classnames in its header")
        names = texts(parse_json(header["classnames"], "classnames"), "classnames")
        source = parse_json(header.get("source", "{}"), "source")
        if not isinstance(source, dict) or not all(isinstance(one, str) for one in source.values()):
            raise ValueError("source is no mapping of texts")
        features, scale = tensors["features"], tensors["logit_scale"]
        for name, value in (("features", features), ("logit_scale", scale)):
            if not value.is_floating_point():
                raise ValueError(f"{name} holds {str(value.dtype).removeprefix('torch.')}, no real numbers")
            if not value.isfinite().all():
                raise ValueError(f"{name} has numbers that are not finite")
        if features.dim() != 2 or not names or len(features) != len(names) or not features.shape[1]:
            raise ValueError(f"features of shape {tuple(features.shape)} for {len(names)} classes")
        if scale.numel() != 1 or not 0 < float(scale) < 1e6:
            raise ValueError(f"logit_scale is {shown(scale.flatten()[:3].tolist())}: one number above 0 is wanted")
        features = features.float()
        if zero := [name for name, norm in zip(names, features.norm(dim=1).tolist(), strict=True) if not norm > 1e-6]:
            raise ValueError(f"the vector of {shown(zero[0])} is zero")
        first: dict[str, int] = {}
        for row, name in enumerate(names):
            # Some lists of classes have a name twice; then both have the same text, and the same vector.
            if not torch.allclose(features[first.setdefault(name, row)], features[row], atol=1e-3):
                raise ValueError(f"the class {shown(name)} comes twice, with two vectors")
        kind = header.get("kind", "unit")
        if kind not in KINDS:
            raise ValueError(f"kind {shown(kind)}: this version reads {' and '.join(KINDS)}")
        return cls(names, features, float(scale), source, kind)


def cosine_logits(
    image_features: Tensor, text_features: Tensor, logit_scale: float | Tensor, normalize_text: bool = True
) -> Tensor:
    """The logits `s * cos(f, g)` in float32 (CLIP, arXiv 2103.00020, figure 3).

    Args:
        image_features: f, (B, D), of any norm.
        text_features: g, (C, D), or (B, C, D) for features that depend on the image (CoCoOp).
        logit_scale: s.
        normalize_text: whether g is brought to unit norm; a mean of unit vectors (ClassVectors.kind) stays as it is.

    Returns:
        (B, C).
    """
    with torch.autocast(image_features.device.type, enabled=False):  # it would multiply, and return, in half precision
        image = F.normalize(image_features.float(), dim=-1)
        text = F.normalize(text_features.float(), dim=-1) if normalize_text else text_features.float()
        if text.dim() == 3:
            return logit_scale * torch.einsum("bd,bcd->bc", image, text)
        return logit_scale * image @ text.t()


def scale_of(clip: Clip) -> float:
    """A model's logit scale, exponentiated."""
    return float(clip.logit_scale.detach().float().exp())


def has_text(clip: Clip) -> bool:
    """Whether a model encodes texts: an image tower alone does not."""
    return hasattr(clip, "encode_text")


@torch.no_grad()
def encode_prompts(clip: Clip, texts: Sequence[str], truncate: bool = False) -> Tensor:
    """Encodes C plain texts as un-normalised features (C, D) float32; in parts, so that memory does not grow with C.

    Texts that are too long raise RuntimeError, or are cut with `truncate`.

    Raises:
        ValueError: the model has no text encoder.
    """
    if not has_text(clip):
        raise ValueError(
            "an image tower without a text encoder knows no class by its name: train FeatureTeacher on it with a few "
            "labelled images, and take that run (docs/teachers.md)"
        )
    if not takes_text_prompts(clip):
        tokens = clip.tokenizer(list(texts)).to(clip.logit_scale.device)
        return torch.cat([clip.encode_text(part).float() for part in tokens.split(256)])
    return encode_texts(clip, embed(clip, texts, truncate=truncate))[0].float()


def template_features(
    clip: Clip, classnames: Sequence[str], templates: Sequence[str], normalize_each: bool = True
) -> Tensor:
    """The mean text feature of each class over templates: (C, D) of unit norm.

    Args:
        clip: the model.
        classnames: C names.
        templates: one or more texts with one `{}`.
        normalize_each: whether each template's feature is normalised before the mean, as in CLIP (arXiv 2103.00020,
            section 3.1.4); PromptSRC (arXiv 2307.06948, section 3.3) takes the mean of un-normalised features.

    Raises:
        ValueError: a template without exactly one place for the class name.
    """
    for template in templates:
        check_template(template, "template ")
    total = torch.zeros(())
    for template in templates:
        features = encode_prompts(clip, [class_prompt(template, name) for name in classnames])  # (C, D)
        total = total + (F.normalize(features, dim=-1) if normalize_each else features)
    return F.normalize(total / len(templates), dim=-1)


@torch.no_grad()
def text_weights(clip: Clip, texts: Sequence[Sequence[str]]) -> Tensor:
    """The mean of the un-normalised features of each class's texts: (C, D); texts that are too long are cut."""
    flat = [text for one in texts for text in one]
    features = encode_prompts(clip, flat, truncate=True)  # (all texts, D)
    return torch.stack([part.mean(dim=0) for part in features.split([len(one) for one in texts])])


def weights_hash(module: nn.Module) -> str:
    """A short fingerprint of a module's state dict, stored with results that were computed from it."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
