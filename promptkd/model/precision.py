"""The number types of a run: for the storage of frozen CLIP, and for autocast; learned tensors stay float32."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from open_clip.model import convert_weights_to_lp
from torch import nn

from promptkd.model.native_bf16 import prefers_bf16
from promptkd.model.parts import Clip
from promptkd.model.prompting import takes_visual_prompts, text_tower

log = logging.getLogger(__name__)

CHOICES = ("fp32", "bf16", "fp16", "amp")


@dataclass(frozen=True)
class Precision:
    """The number types of a run.

    Attributes:
        device: of the run.
        compute: type in which autocast computes; None: no autocast.
        half_storage: whether frozen matrices are stored in that type as well.
    """

    device: torch.device
    compute: torch.dtype | None
    half_storage: bool

    @classmethod
    def choose(cls, name: str, device: torch.device, bf16: bool | None = None) -> Precision:
        """The precision for a trainer's PREC.

        fp32; bf16 and fp16 (frozen matrices stored in that type); amp (frozen weights float32, computed in fp16). On a
        CPU fp16 and amp compute in bfloat16 where it multiplies that more quickly, else in float32; a line says which.

        Args:
            name: PREC.
            device: of the run.
            bf16: what fp16 and amp become on a CPU, where it is settled: bfloat16, or float32; None: by measurement.

        Raises:
            ValueError: PREC is none of these.
        """
        if name not in CHOICES:
            raise ValueError(f"PREC {name!r}: choose one of {', '.join(CHOICES)}")
        compute = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16, "amp": torch.float16}[name]
        if device.type == "cpu" and name in ("fp16", "amp"):
            compute = torch.bfloat16 if (prefers_bf16() if bf16 is None else bf16) else None
            if compute is None:
                log.info("PREC %s is for GPUs: this run on the CPU uses fp32, which multiplies no slower here", name)
            else:
                log.info("PREC %s: this run on the CPU computes in bfloat16; PREC fp32 keeps float32", name)
        if device.type == "cpu" and compute and torch.backends.cpu.get_cpu_capability() == "AVX2":
            log.warning(
                "PREC %s: in bfloat16; this CPU has no instructions for it, so that fp32 would be many times quicker",
                name,
            )
        if device.type == "cuda" and name == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # PyTorch would convolve, and only that, with 10 bits of mantissa
        return cls(device, compute, half_storage=compute is not None and name in ("bf16", "fp16"))

    @property
    def arithmetic(self) -> str:
        """The type in which products are computed: "float32", "bfloat16" or "float16"."""
        return str(self.compute or torch.float32).removeprefix("torch.")

    @property
    def scales_loss(self) -> bool:
        """Whether gradients need a GradScaler: only float16 can underflow."""
        return self.compute is torch.float16

    def autocast(self) -> AbstractContextManager:
        """The context in which a forward pass runs."""
        if self.compute is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute)

    def store(self, clip: Clip) -> Clip:
        """Moves a frozen model to the device, its matrices in half precision where that is asked for.

        The weights of a ResNet are laid out channels-last, in which convolutions are quicker (docs/performance.md).
        """
        clip = clip.to(self.device)
        if not takes_visual_prompts(clip):
            clip.visual.to(memory_format=torch.channels_last)
        linear = isinstance(getattr(text_tower(clip), "text_projection", None), nn.Linear)  # open_clip converts none
        if self.half_storage and self.compute is not None and not linear:
            convert_weights_to_lp(clip, dtype=self.compute)
        return clip
