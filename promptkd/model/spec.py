"""What rebuilds a learned module without the method that trained it: a small dataclass, written beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor, nn

from promptkd.model.adapters import AdapterPrompts
from promptkd.model.compound import CompoundPrompts
from promptkd.model.conditional import ConditionalPrompts
from promptkd.model.ensemble import EnsemblePrompts
from promptkd.model.image_led import ImageLedPrompts
from promptkd.model.projector import PROJECTORS
from promptkd.model.prompts import POSITIONS, Prompts, StudentPrompts
from promptkd.model.tuning import TunedStudent, is_tune

KINDS = ("prompts", "conditional", "compound", "image_led", "adapters")


@dataclass(frozen=True)
class PromptSpec:
    """The learned module of any method here; a part whose size is 0 is not there.

    Attributes:
        kind: "prompts": tokens for the text, the image or both; "conditional": CoCoOp's, whose context each image
            moves; "compound": MaPLe's, whose visual prompts are maps of its text prompts; "image_led": FAP's, whose
            text prompts are maps of its visual ones; "adapters": TFUP-T's, which change features.
        n_text, depth_text: context tokens, and blocks of the text encoder with learned tokens (1: the input alone).
        n_vision, depth_vision: visual tokens, and blocks of the image encoder with learned tokens.
        phrase: words that the context starts from, and that stay as text behind it where it is shorter.
        position: of the class name: "end", "middle" or "front" of the context.
        n_classes: classes with a context (CoOp's CSC) or a residual (TFUP-T) each; 0 for one context.
        members: contexts of an ensemble (UPL); below 2 there is one.
        projector_layers, projector_dim: linear layers of a student's projector, and the channels that it leads to.
        projector: "mlp": the method's; "residual": a linear map, and the method's beside it.
        tune: what of a student's image encoder learns: "" nothing, "norm", "last:N", "full" or "lora".
        lora_rank, lora_alpha, lora_modules: of LoRA; the ends of its layers' names, joined by commas, "" for all.
    """

    kind: str = "prompts"
    n_text: int = 0
    depth_text: int = 1
    n_vision: int = 0
    depth_vision: int = 0
    phrase: str = ""
    position: str = "end"
    n_classes: int = 0
    members: int = 0
    projector_layers: int = 0
    projector_dim: int = 0
    projector: str = "mlp"
    tune: str = ""
    lora_rank: int = 0
    lora_alpha: float = 0.0
    lora_modules: str = ""

    @property
    def any_class(self) -> bool:
        """Whether it makes class vectors of any name: not with a context per class or image, nor as a student."""
        return self.kind != "conditional" and not self.n_classes and not self.projector_layers

    def build(self, clip: nn.Module) -> Prompts:
        """The module with its initial values, for a frozen open_clip model.

        Raises:
            ValueError: the model does not take such prompts; the message says why.
        """
        if self.kind == "conditional":
            return ConditionalPrompts(clip, self.n_text, self.phrase)
        if self.kind == "compound":
            return CompoundPrompts(clip, self.n_text, self.depth_text, self.phrase)
        if self.kind == "image_led":
            return ImageLedPrompts(clip, self.n_vision, self.depth_vision)
        if self.kind == "adapters":
            return AdapterPrompts(clip, self.n_classes)
        if self.members > 1:
            return EnsemblePrompts(clip, self.n_text, self.members, self.position)
        if self.tune:
            modules = tuple(self.lora_modules.split(",")) if self.lora_modules else ()
            lora = (self.lora_rank, self.lora_alpha, modules)
            projector = (self.projector_dim, self.projector_layers, self.projector)
            return TunedStudent(clip, *projector, self.tune, *lora)
        if self.projector_layers:
            visual = (self.n_vision, self.depth_vision, self.projector_layers, self.projector)
            return StudentPrompts(clip, self.projector_dim, *visual)
        sizes = (self.n_text, self.depth_text, self.n_vision, self.depth_vision)
        return Prompts(clip, *sizes, self.phrase, self.n_classes, self.position)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Any) -> PromptSpec:
        """Takes `to_dict` back.

        Raises:
            ValueError: a field is unknown, of another type or below 0; the message names it.
        """
        known = {field.name: field.default for field in fields(cls)}
        if not isinstance(entries, Mapping):
            raise ValueError(f"a spec is a mapping of {', '.join(known)}, not {str(entries)[:80]!r}")
        for name, value in entries.items():
            if name not in known:
                raise ValueError(f"a spec has no field {str(name)[:80]!r}; it has {', '.join(known)}")
            if type(value) is not type(known[name]) or (isinstance(value, int | float) and not 0 <= value <= 100_000):
                raise ValueError(f"{name} of a spec is {repr(value)[:80]}: give a {type(known[name]).__name__}")
        spec = cls(**entries)
        if spec.kind not in KINDS or spec.position not in POSITIONS:
            raise ValueError(f"no prompts of kind {spec.kind[:40]!r} with the class name at the {spec.position[:40]!r}")
        if spec.projector not in PROJECTORS:
            raise ValueError(f"no projector {spec.projector[:40]!r}: give {' or '.join(PROJECTORS)}")
        if spec.tune and not (is_tune(spec.tune) and spec.projector_layers and (spec.lora_rank or spec.tune != "lora")):
            raise ValueError(f"a spec that tunes {spec.tune[:40]!r} with {spec.projector_layers} layers of a projector")
        return spec

    @classmethod
    def of_tensors(cls, learned: Mapping[str, Tensor], phrase: str = "", position: str = "end") -> PromptSpec:
        """The spec of learned tensors, for a checkpoint that has none beside it: a published file, an older run.

        Args:
            learned: under our names (`ctx`, `text_prompts.0`, `vision_prompts.0`, `projector.0.weight`, ...).
            phrase, position: what tensors do not tell, see the attributes.
        """

        def count(kind: str) -> int:
            return sum(name.startswith(f"{kind}.") for name in learned)

        ctx, vision = learned.get("ctx"), learned.get("vision_prompts.0")
        residual = "projector.linear.weight" in learned
        begin = "projector.mlp." if residual else "projector."
        linear = [value for name, value in learned.items() if name.startswith(begin) and value.dim() == 2]
        residuals = learned.get("text_adapter.res")
        if residuals is not None:
            return cls(kind="adapters", n_classes=len(residuals))
        if count("text_maps"):
            tokens, depth = 0 if vision is None else len(vision), count("text_maps")
            return cls("image_led", tokens, depth, tokens, count("vision_prompts"))
        kind = "compound" if count("projections") else "conditional" if count("meta_net") else "prompts"
        return cls(
            kind=kind,
            n_text=0 if ctx is None else ctx.shape[-2],
            depth_text=count("text_prompts") + 1,
            n_vision=0 if vision is None else len(vision),
            depth_vision=count("vision_prompts"),
            phrase="" if linear else phrase,
            position=position,
            n_classes=len(ctx) if ctx is not None and ctx.dim() == 3 else 0,
            projector_layers=len(linear),
            projector_dim=len(linear[-1]) if linear else 0,
            projector="residual" if residual else "mlp",
            lora_rank=next((len(value) for name, value in learned.items() if name.endswith("lora_A.weight")), 0),
        )

    def check(self, learned: Mapping[str, Tensor]) -> None:
        """Compares the sizes with those of the tensors that are to be loaded, before anything of these sizes is built.

        Args:
            learned: under our names.

        Raises:
            ValueError: a size differs; the message has both.
        """
        tensors = PromptSpec.of_tensors(learned)
        for name in ("n_text", "n_vision", "n_classes", "projector", "projector_layers", "projector_dim", "lora_rank"):
            wanted, given = getattr(self, name), getattr(tensors, name)
            wanted = 0 if name == "n_vision" and not self.depth_vision else wanted  # nothing is learned of them
            wanted = self.members if name == "n_classes" and self.members > 1 else wanted  # contexts, too
            if wanted != given:
                raise ValueError(f"{name} of its spec is {wanted}, and {given} in its tensors")
