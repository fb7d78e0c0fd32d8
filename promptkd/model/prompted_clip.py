"""A frozen CLIP with what was learned for it: the model that trains, the teacher, the deployed classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.model.class_vectors import (
    ClassVectors,
    cosine_logits,
    has_text,
    scale_of,
    template_features,
    weights_hash,
)
from promptkd.model.compiling import compile_image_encoder
from promptkd.model.conditional import ConditionalPrompts
from promptkd.model.ensemble import EnsemblePrompts
from promptkd.model.precision import Precision
from promptkd.model.prompting import encode_image
from promptkd.model.prompts import Prompts
from promptkd.model.spec import PromptSpec
from promptkd.model.templates import check_template
from promptkd.model.tokens import PromptTokens


class PromptedClip:
    """Features and logits of a frozen CLIP with learned prompts.

    The texts of classes come from one of three places: stored class vectors (a student's, a deployed model's),
    hand-written templates (zero-shot CLIP), or else the prompts.

    Args:
        clip: an open_clip model; moved to the precision's device, and stored as that says.
        spec: of what is learned for it.
        precision: arithmetic and device.
        templates: texts with one `{}`, whose features are averaged.
        vectors: class vectors to compare image features with, by their logit scale; a student has its own.
        about: what is known of it, for results and messages: "backbone", "trainer", "source", ...
    """

    def __init__(
        self,
        clip: nn.Module,
        spec: PromptSpec,
        precision: Precision,
        *,
        templates: Sequence[str] = (),
        vectors: ClassVectors | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        # A student's class vectors are another model's, and it has a scale of its own; an image tower that was never
        # compared to texts has none.
        self.logit_scale = scale_of(clip)
        if vectors is not None and not (spec.projector_layers and has_text(clip)):
            self.logit_scale = vectors.logit_scale
        self.spec = spec
        self.prompts: Prompts = spec.build(clip)  # from float32 tables, before they may be stored in half precision
        self.clip: Any = precision.store(clip)
        self.prompts.to(precision.device)
        self.precision = precision
        self.templates = tuple(templates)
        for template in self.templates:
            check_template(template, "template ")
        self.vectors = None if vectors is None else vectors.to(precision.device)
        self.about: dict[str, Any] = dict(about or {})
        self._tokens: dict[tuple[str, ...], PromptTokens] = {}
        self._fixed_text: dict[tuple[str, ...], Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.precision.device

    @property
    def conditional(self) -> bool:
        """Whether text features depend on the image, so that there are no class vectors (CoCoOp)."""
        return isinstance(self.prompts, ConditionalPrompts)

    @property
    def template(self) -> str:
        """The text that class names are put into; several are joined by " | "."""
        if self.vectors is not None:
            return str(self.vectors.source.get("template", ""))
        return " | ".join(self.templates) or self.prompts.template

    def image_features(self, images: Tensor) -> Tensor:
        """Image features with the learned prompts: (B, 3, H, W) -> (B, D), not normalised."""
        return self.prompts.encode_image(self.clip, images)

    @torch.no_grad()
    def frozen_image_features(self, images: Tensor) -> Tensor:
        """Image features of CLIP as it was before any prompts: (B, 3, H, W) -> (B, D), not normalised."""
        return encode_image(self.clip.visual, images)

    def tokens(self, classnames: Sequence[str]) -> PromptTokens:
        """Embedded prompts of classes, made once for each list of names."""
        key = tuple(classnames)
        if key not in self._tokens:
            self._tokens[key] = self.prompts.tokens(self.clip, key)
        return self._tokens[key]

    def text_features(self, classnames: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Text features of C classes: (C, D), not normalised; computed once where nothing of the text is learned.

        Args:
            classnames: C names.
            rows: (K,) numbers of some of the classes, whose features alone are computed and returned: (K, D).

        Raises:
            ValueError: a class that has no stored class vector.
        """
        learned = self.vectors is None and not self.templates and self.prompts.learns_text
        if rows is not None:
            if not learned:
                return self.text_features(classnames)[rows]
            return self.prompts.encode_text(self.clip, self.tokens(classnames).take(rows.tolist()))
        if self.vectors is not None:
            return self.vectors.select(classnames).features
        if self.templates:
            return template_features(self.clip, classnames, self.templates)
        if self.prompts.learns_text:
            return self.prompts.encode_text(self.clip, self.tokens(classnames))
        key = tuple(classnames)
        if key not in self._fixed_text:
            with torch.no_grad():
                self._fixed_text[key] = self.prompts.encode_text(self.clip, self.tokens(classnames))
        return self._fixed_text[key]

    def text_features_for(
        self, image_features: Tensor, classnames: Sequence[str], rows: Tensor | None = None
    ) -> Tensor:
        """Text features of C classes for each image (CoCoOp): (B, D) of unit norm -> (B, C, D), not normalised.

        With `rows`, (K,) numbers of some of the classes, those alone: (B, K, D).
        """
        assert isinstance(self.prompts, ConditionalPrompts)
        tokens = self.tokens(classnames)
        return self.prompts.encode_text_for(
            self.clip, tokens if rows is None else tokens.take(rows.tolist()), image_features
        )

    def member_features(self, classnames: Sequence[str]) -> Tensor:
        """Text features of C classes with each prompt of an ensemble: (M, C, D), not normalised."""
        assert isinstance(self.prompts, EnsemblePrompts)
        return self.prompts.encode_members(self.clip, self.tokens(classnames))

    def member_logits(self, images: Tensor, text_features: Tensor) -> Tensor:
        """The logits of each prompt of an ensemble: (B, 3, H, W), (M, C, D) -> (M, B, C) float32."""
        image = self.image_features(images)  # (B, D)
        return torch.stack([cosine_logits(image, one, self.logit_scale) for one in text_features])

    def template_features(
        self, classnames: Sequence[str], templates: Sequence[str], normalize_each: bool = True
    ) -> Tensor:
        """Frozen CLIP's mean text feature over templates: (C, D) of unit norm (see class_vectors.template_features)."""
        with self.precision.autocast():
            return template_features(self.clip, classnames, templates, normalize_each)

    @torch.no_grad()
    def class_vectors(self, classnames: Sequence[str]) -> ClassVectors:
        """Text features of C classes (C, D) of unit norm, with names, scale and origin; of an ensemble their mean.

        Raises:
            ValueError: they depend on the image (CoCoOp), or a class has no stored vector.
        """
        if self.vectors is not None:
            return self.vectors.select(classnames)
        if self.conditional:
            raise ValueError("CoCoOp makes its text features for each image anew: it has no class vectors")
        with self.precision.autocast():
            features, kind = self.text_features(classnames).float(), "unit"
            if isinstance(self.prompts, EnsemblePrompts):
                kind = "mean"
            else:
                features = F.normalize(features, dim=-1)
        made_by = f"{self.about.get('trainer', 'a prompted CLIP')} on {self.about.get('backbone', 'an unnamed CLIP')}"
        source = {"made_by": made_by, "weights": weights_hash(self.prompts), "template": self.template}
        return ClassVectors(tuple(classnames), features, self.logit_scale, source, kind)

    def logits(self, images: Tensor, text_features: Tensor | None = None) -> Tensor:
        """`s cos(f, g)`: (B, 3, H, W) -> (B, C) float32.

        Args:
            images: normalised as the model wants them.
            text_features: (C, D); None for the stored class vectors.
        """
        return self.logits_of(self.image_features(images), text_features)

    def logits_of(self, image_features: Tensor, text_features: Tensor | None = None) -> Tensor:
        """`s cos(f, g)` of image features: (B, D) -> (B, C) float32; see `logits`."""
        if text_features is None:
            assert self.vectors is not None, "give text features, or the model its class vectors"
            return self.vectors.logits(image_features, self.logit_scale)
        return cosine_logits(image_features, text_features, self.logit_scale)

    def conditional_logits(self, images: Tensor, classnames: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """`s cos(f, g(f))` of CoCoOp: (B, 3, H, W) -> (B, C) float32, or (B, K) of the classes `rows`."""
        image = F.normalize(self.image_features(images).float(), dim=-1)  # (B, D)
        return cosine_logits(image, self.text_features_for(image, classnames, rows), self.logit_scale)

    def classifier(self, classnames: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """What maps images (B, 3, H, W) to logits (B, C); everything that no image enters is computed here."""
        if self.conditional:
            return lambda images: self.conditional_logits(images, classnames)
        vectors = self.class_vectors(classnames)
        return lambda images: vectors.logits(self.image_features(images), self.logit_scale)

    def save(self, folder: str | Path, classnames: Sequence[str] = ()) -> None:
        """Saves what it learned, for `load`; see promptkd.model.saved.save."""
        from promptkd.model import saved

        saved.save(self, folder, classnames)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu", precision: str = "fp32") -> PromptedClip:
        """A saved model, frozen; see promptkd.model.saved.load."""
        from promptkd.model import saved

        return saved.load(folder, device, precision)

    def compile(self, graphs: bool = True) -> None:
        """Compiles the image encoder; see `compile_image_encoder`."""
        compile_image_encoder(self.clip, graphs=graphs)

    def freeze(self) -> PromptedClip:
        """Itself, with prompts that no longer learn, in evaluation mode: a teacher, a deployed model."""
        self.prompts.requires_grad_(False).eval()
        return self
