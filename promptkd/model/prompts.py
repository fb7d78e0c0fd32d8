"""What the methods learn: context for the text, tokens for the image, and the projector of a student.

CLIP is frozen as a whole. A module of this file holds the learned tensors and nothing else, so its state dict is the
checkpoint; CLIP comes in as an argument of every call.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from promptkd.model.projector import make_projector
from promptkd.model.prompting import encode_image, shape_of, takes_text_prompts, takes_visual_prompts
from promptkd.model.text import encode_texts
from promptkd.model.tokens import PromptTokens, class_prompt, count_tokens, embed

log = logging.getLogger(__name__)

INIT_STD = 0.02  # of every randomly initialised prompt (CoOp, arXiv 2109.01134, section 4.1)
POSITIONS = ("end", "middle", "front")


class Prompts(nn.Module):
    """Learnable tokens on the text side, the image side, both or neither.

    Args:
        clip: the frozen model; only its sizes and its token table are read.
        n_text: context tokens shared by all classes; 0 leaves the text as it is.
        depth_text: blocks whose context is learned: 1 is the input only, d adds tokens before blocks 1 .. d - 1.
        n_vision: visual tokens; 0 leaves the image encoder as it is.
        depth_vision: blocks whose visual tokens are learned.
        phrase: words whose embeddings the context starts from, "" for N(0, 0.02). A phrase longer than the context
            keeps its other words as fixed text behind it, as published (MaPLe: 2 tokens of "a photo of a"); one that is
            shorter is not used, which a line says.
        n_classes: contexts of their own for so many classes (CoOp's class-specific context), 0 for one shared context.
        position: where the class name stands: "end", "middle" or "front" of the context.

    Raises:
        ValueError: the model takes no such prompts, a depth exceeds its blocks, or the phrase is too short.
    """

    text_chunk: int = 0  # texts that are encoded at a time: TRAIN.TEXT_CHUNK, see promptkd.model.memory

    def __init__(
        self,
        clip: nn.Module,
        n_text: int = 0,
        depth_text: int = 1,
        n_vision: int = 0,
        depth_vision: int = 0,
        phrase: str = "",
        n_classes: int = 0,
        position: str = "end",
    ) -> None:
        super().__init__()
        shape = shape_of(clip)
        if position not in POSITIONS:
            raise ValueError(f"class token position {position!r} is none of {', '.join(POSITIONS)}")
        if n_text < 0 or n_vision < 0:
            raise ValueError(f"{min(n_text, n_vision)} tokens cannot be learned: set 1 or more, or 0 for none")
        self.phrase = phrase.replace("_", " ").strip()
        self.position = position
        self.ctx: nn.Parameter | None = None
        if n_text:
            check_text(clip, n_text, depth_text)
            words = count_tokens(self.phrase)
            if self.phrase and words < n_text:
                log.info(f"{self.phrase!r} has fewer than {n_text} tokens: the context starts at random, as published")
                self.phrase = ""
            if words > n_text:
                log.info(f"{self.phrase!r} has {words} tokens, {n_text} are learned: the others stay, as published")
            self.ctx = nn.Parameter(initial_context(clip, n_text, self.phrase, n_classes))  # (n, d) or (C, n, d)
        deep = depth_text - 1 if n_text else 0
        self.text_prompts = nn.ParameterList(_normal(n_text, shape.text_width) for _ in range(deep))
        if n_vision and depth_vision:
            check_vision(clip, depth_vision)
        depth = depth_vision if n_vision else 0
        self.vision_prompts = nn.ParameterList(_normal(n_vision, shape.vision_width) for _ in range(depth))

    @property
    def n_text(self) -> int:
        """Learned context tokens; 0 for none."""
        return 0 if self.ctx is None else self.ctx.shape[-2]

    @property
    def learns_text(self) -> bool:
        """Whether text features change as it learns."""
        return self.ctx is not None

    @property
    def depth_text(self) -> int:
        """Text blocks that see learned tokens of their own, the input included."""
        return len(self.text_prompts) + 1 if self.n_text else 0

    @property
    def template(self) -> str:
        """The text a class name is put into; the learned context takes the place of its first words."""
        return f"{self.phrase or ' '.join(['X'] * self.n_text)} {{}}.".lstrip()

    def tokens(self, clip: nn.Module, classnames: Sequence[str]) -> PromptTokens:
        """The prompts of C classes, embedded by the frozen table; made once, used at every step."""
        names = [class_prompt("{}", name) for name in classnames]
        return embed(clip, [self.template.replace("{}", name) for name in names], [count_tokens(n) for n in names])

    def encode_text(self, clip: nn.Module, tokens: PromptTokens) -> Tensor:
        """Un-normalised text features (C, D) of prompted classes.

        Raises:
            ValueError: contexts of other classes than these.
        """
        contexts: Tensor | None = self.ctx
        each = contexts is not None and contexts.dim() == 3
        if contexts is not None and each and len(contexts) != len(tokens):
            raise ValueError(
                f"class-specific contexts of {len(contexts)} classes say nothing of {len(tokens)} others: "
                "evaluate the classes they were trained on, or train one context for all (CSC False)"
            )
        if contexts is not None and not each:
            contexts = contexts[None]  # (1, n, d)
        return encode_texts(clip, tokens, contexts, list(self.text_prompts), self.position, each, self.text_chunk)[0]

    def encode_image(self, clip: Any, images: Tensor) -> Tensor:
        """Un-normalised image features: (B, 3, H, W) -> (B, D)."""
        return encode_image(clip.visual, images, list(self.vision_prompts))


class StudentPrompts(Prompts):
    """PromptKD's student (arXiv 2403.02781, section 3.3): visual prompts, then a projector into the teacher's space.

    Args:
        clip: the student's CLIP.
        teacher_dim: channels of the class vectors.
        n_vision, depth_vision: see Prompts.
        n_layers: linear layers of the projector, 1 to 3 (table 12 of the paper; 2 is the method).
        kind: of the projector, "mlp" (the method's) or "residual".
    """

    def __init__(
        self,
        clip: nn.Module,
        teacher_dim: int,
        n_vision: int,
        depth_vision: int,
        n_layers: int = 2,
        kind: str = "mlp",
    ) -> None:
        if n_vision and depth_vision and not takes_visual_prompts(clip):
            raise ValueError(
                f"TUNE prompts needs a Vision Transformer, this student's image encoder is a "
                f"{type(clip.visual).__name__}: set TUNE to projector, norm, lora, last:N or full"
            )
        super().__init__(clip, n_vision=n_vision, depth_vision=depth_vision)
        self.projector = make_projector(kind, shape_of(clip).embed_dim, teacher_dim, n_layers)

    def unprojected(self, clip: nn.Module, images: Tensor) -> Tensor:
        """Image features before the projector: (B, 3, H, W) -> (B, D of the student's CLIP), un-normalised."""
        return super().encode_image(clip, images)

    def encode_image(self, clip: nn.Module, images: Tensor) -> Tensor:
        """Un-normalised image features in the teacher's space: (B, 3, H, W) -> (B, D of the class vectors)."""
        features: Tensor = self.projector(self.unprojected(clip, images))
        return features


def context_length(phrase: str, n_ctx: int) -> int:
    """Tokens of the context of CoOp and CoCoOp: one for each word of the phrase, as published; without one `n_ctx`."""
    words = len(phrase.replace("_", " ").split())
    if words not in (0, n_ctx):
        log.info(f"CTX_INIT {phrase!r} makes a context of {words} tokens: N_CTX {n_ctx} is not used")
    return words or n_ctx


def initial_context(clip: nn.Module, n_ctx: int, phrase: str, n_classes: int = 0) -> Tensor:
    """Context vectors to start from: the first n token embeddings of a phrase, or N(0, 0.02) where there is none.

    Args:
        clip: the frozen model.
        n_ctx: n.
        phrase: at least n tokens, or "".
        n_classes: C for a context each, 0 for one.

    Returns:
        (n, d), or (C, n, d).
    """
    classes = (n_classes,) if n_classes else ()
    if not phrase:
        return torch.randn(*classes, n_ctx, shape_of(clip).text_width) * INIT_STD
    words = embed(clip, [phrase]).embeddings[0, 1 : 1 + n_ctx].float()
    return words.expand(*classes, *words.shape).clone()


def _normal(n: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n, width) * INIT_STD)


def check_text(clip: nn.Module, n_text: int, depth: int, option: str = "PROMPT_DEPTH_TEXT") -> None:
    """Raises ValueError where the text encoder takes no context of this length, or none at so many blocks."""
    shape = shape_of(clip)
    if not takes_text_prompts(clip):
        raise ValueError("this model's text encoder is not CLIP's transformer: it takes no learned context")
    if n_text > shape.context_length - 3:
        raise ValueError(f"{n_text} context tokens leave no room for a class name in {shape.context_length} tokens")
    if not 1 <= depth <= shape.text_layers:
        raise ValueError(
            f"{option} {depth}: this text encoder has {shape.text_layers} blocks, set 1 to {shape.text_layers}"
        )


def check_vision(clip: nn.Module, depth: int, option: str = "PROMPT_DEPTH_VISION") -> None:
    """Raises ValueError where the image encoder takes no prompts, or none at so many blocks."""
    shape = shape_of(clip)
    if not takes_visual_prompts(clip):
        raise ValueError(
            f"visual prompts need a Vision Transformer, this image encoder is a {type(clip.visual).__name__}: "
            "choose a ViT backbone"
        )
    if not 1 <= depth <= shape.vision_layers:
        raise ValueError(
            f"{option} {depth}: this image encoder has {shape.vision_layers} blocks, set 1 to {shape.vision_layers}"
        )
