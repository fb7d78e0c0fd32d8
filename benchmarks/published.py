"""The steps as the published code makes them, written from the papers: what ours is compared with.

Every text is 77 tokens long and passes through every block whole; PromptKD (arXiv 2403.02781) encodes its teacher's
text at each step and each test batch, and runs the teacher's image encoder at each test batch without using it; the
others encode their text at each test batch. open_clip's own blocks are called one after the other, eagerly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptkd.model.compound import CompoundPrompts
from promptkd.model.conditional import ConditionalPrompts
from promptkd.model.parts import Clip, ImageTower, PromptList
from promptkd.model.prompted_clip import PromptedClip
from promptkd.model.prompting import text_tower
from promptkd.model.prompts import Prompts, StudentPrompts
from promptkd.model.tokens import tokenize


class Published:
    """A prompted CLIP that does all its work at every call. The learned tensors are those of a module of ours."""

    def __init__(self, clip: Clip, prompts: Prompts, classnames: Sequence[str]) -> None:
        self.clip, self.prompts = clip, prompts
        self.visual: ImageTower = clip.visual
        texts = [prompts.template.replace("{}", name) for name in classnames]
        self.ids = tokenize(texts).to(clip.logit_scale.device)  # (C, 77)

    @cached_property
    def embeddings(self) -> Tensor:
        """(C, 77, d), which the published code keeps, too."""
        with torch.no_grad():
            return text_tower(self.clip).token_embedding(self.ids)

    def text(self, shift: Tensor | None = None) -> Tensor:
        """(C, D), not normalised; `shift` (d,) moves the context (CoCoOp)."""
        tower, n = text_tower(self.clip), self.prompts.n_text
        x = self.embeddings
        if n:
            assert self.prompts.ctx is not None
            ctx = self.prompts.ctx if shift is None else self.prompts.ctx + shift
            x = torch.cat([x[:, :1], ctx.expand(len(x), -1, -1), x[:, 1 + n :]], dim=1)  # (C, 77, d)
        x = x + tower.positional_embedding
        for number, block in enumerate(tower.transformer.resblocks):
            if 0 < number < self.prompts.depth_text:
                deep = self.prompts.text_prompts[number - 1].expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], deep, x[:, 1 + n :]], dim=1)
            x = block(x, attn_mask=tower.attn_mask)
        return tower.ln_final(x)[torch.arange(len(x)), self.ids.argmax(dim=-1)] @ tower.text_projection

    def image(self, images: Tensor, deep: PromptList | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, D), not normalised, with the learned visual prompts or those given."""
        visual, prompts = self.visual, self.prompts
        deep = prompts.vision_prompts if deep is None else deep
        x = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, patches, d)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
        length = x.shape[1]
        for number, block in enumerate(visual.transformer.resblocks):
            if number < len(deep):
                x = torch.cat([x[:, :length], deep[number].expand(len(x), -1, -1)], dim=1)
            if number == 0:
                x = visual.ln_pre(x)
            x = block(x)
        return visual.ln_post(x[:, 0]) @ visual.proj

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """`s cos(f, g)`: (B, D), (C, D) -> (B, C)."""
        return self.clip.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()


Step = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]  # loss of a batch; logits of a test batch


def coop(clip: nn.Module, prompts: Prompts, classnames: Sequence[str]) -> Step:
    """CoOp (arXiv 2109.01134)."""
    model = Published(clip, prompts, classnames)

    def classify(images: Tensor) -> Tensor:
        return model.logits(model.image(images), model.text())

    return lambda images, labels: F.cross_entropy(classify(images), labels), classify


def maple(clip: nn.Module, prompts: CompoundPrompts, classnames: Sequence[str]) -> Step:
    """MaPLe (arXiv 2210.03117)."""
    model = Published(clip, prompts, classnames)

    def classify(images: Tensor) -> Tensor:
        pairs = zip(prompts.projections, [prompts.ctx, *prompts.text_prompts], strict=True)
        return model.logits(model.image(images, [project(prompt) for project, prompt in pairs]), model.text())

    return lambda images, labels: F.cross_entropy(classify(images), labels), classify


def cocoop(clip: nn.Module, prompts: ConditionalPrompts, classnames: Sequence[str]) -> Step:
    """CoCoOp (arXiv 2203.05557): the text of all classes for one image after the other."""
    model = Published(clip, prompts, classnames)

    def classify(images: Tensor) -> Tensor:
        features = F.normalize(model.image(images), dim=-1)  # (B, D)
        shifts = prompts.meta_net(features)  # (B, d)
        pairs = zip(features, shifts, strict=True)
        return torch.cat([model.logits(feature[None], model.text(shift)) for feature, shift in pairs])

    return lambda images, labels: F.cross_entropy(classify(images), labels), classify


def promptsrc(clip: nn.Module, prompts: Prompts, classnames: Sequence[str], frozen_text: Tensor) -> Step:
    """PromptSRC (arXiv 2307.06948); `frozen_text` (C, D) is kept by the published code, too. Weights 25 and 10."""
    model = Published(clip, prompts, classnames)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        text, image = F.normalize(model.text(), dim=-1), F.normalize(model.image(images), dim=-1)
        with torch.no_grad():
            frozen = F.normalize(model.image(images, ()), dim=-1)
            target = model.logits(frozen, frozen_text)
        logits = model.logits(image, text)
        kl = F.kl_div(logits.log_softmax(-1), target.log_softmax(-1), reduction="sum", log_target=True) / logits.numel()
        near = 25 * F.l1_loss(text, frozen_text) + 10 * F.l1_loss(image, frozen)
        return F.cross_entropy(logits, labels) + near + kl

    return loss, lambda images: model.logits(model.image(images), model.text())


def promptkd(
    clip: nn.Module, prompts: StudentPrompts, classnames: Sequence[str], teacher: PromptedClip, weight: float
) -> Step:
    """PromptKD (arXiv 2403.02781, equation 3), whose student has no text encoder."""
    student, large = Published(clip, prompts, classnames), Published(teacher.clip, teacher.prompts, classnames)

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            text, image = large.text(), large.image(images)
            target = large.logits(image, text)
        return student.logits(prompts.projector(student.image(images)), text), target

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        logits, target = forward(images)
        kl = F.kl_div(logits.log_softmax(-1), target.log_softmax(-1), reduction="sum", log_target=True)
        return weight * kl / logits.numel()

    return loss, lambda images: forward(images)[0]
