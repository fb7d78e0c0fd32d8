"""Options of a distilled student: what of its image encoder learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from promptkd.engine.options import MethodOptions, option
from promptkd.model.tuning import KINDS, is_tune
from promptkd.texts import clipped, closest

PROMPTS, PROJECTOR = "prompts", "projector"
CHOICES = (PROMPTS, PROJECTOR, *KINDS)


@dataclass(frozen=True)
class TuneOptions(MethodOptions):
    """What learns beside the projector."""

    tune: str = option(
        PROMPTS,
        "what learns: prompts (the method), projector (it alone), norm, lora, last:N (blocks) or full, with a "
        "projector each",
    )
    lora_rank: int = option(8, "of TUNE lora: r of W + LORA_ALPHA / r B A", least=1, most=1024)
    lora_alpha: float = option(16.0, "of TUNE lora: the scale of what is learned, over r", above=0, most=10_000)
    lora_modules: str = option("", 'of TUNE lora: ends of layers\' names, as "attn, c_fc"; "" for all of the blocks')

    @property
    def tuning(self) -> dict[str, Any]:
        """What a spec says of an image encoder that learns."""
        if self.tune in (PROMPTS, PROJECTOR):
            return {}
        lora: dict[str, Any] = {"lora_rank": self.lora_rank, "lora_alpha": float(self.lora_alpha)}
        lora |= {"lora_modules": ",".join(self.lora_modules.replace(",", " ").split())}
        return {"tune": self.tune} | (lora if self.tune == "lora" else {})

    def check(self, cfg: CfgNode) -> None:
        super().check(cfg)
        if self.tune not in (PROMPTS, PROJECTOR) and not is_tune(self.tune):
            close = closest(self.tune, CHOICES)
            hint = f", did you mean {close}?" if close else ":"
            raise ValueError(f"TRAINER.PROMPTKD.TUNE {clipped(self.tune)!r}{hint} choose one of {', '.join(CHOICES)}")
        if self.tune.startswith("last:") and int(self.tune[5:]) == 0:
            raise ValueError(f"TRAINER.PROMPTKD.TUNE {self.tune}: set last:1 or more, or projector to tune no block")
        if self.tune == "lora":
            from promptkd.model.lora import check_installed

            check_installed()
        if cfg.MODEL.COMPILE and self.tune not in (PROMPTS, PROJECTOR):
            raise ValueError(
                f"MODEL.COMPILE True: it is for a frozen encoder, and TRAINER.PROMPTKD.TUNE {self.tune} changes its "
                "weights at each step; set MODEL.COMPILE False"
            )

    def not_read(self, cfg: CfgNode) -> Mapping[str, str]:
        prompts = () if self.tune == PROMPTS else ("N_CTX_VISION", "PROMPT_DEPTH_VISION")
        lora = () if self.tune == "lora" else ("LORA_RANK", "LORA_ALPHA", "LORA_MODULES")
        why = {f"TRAINER.PROMPTKD.{key}": f"TUNE is {self.tune}" for key in (*prompts, *lora)}
        return {**super().not_read(cfg), **why}
