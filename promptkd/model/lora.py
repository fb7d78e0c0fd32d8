"""LoRA (Hu et al., arXiv 2106.09685) of an image encoder, by peft: low-rank changes of its layers, which alone learn.

peft makes the adapters of a copy of the encoder (their first values, their scale, what it does for convolutions and for
the packed projection of an attention) and computes each layer's change of weight; the copy is thrown away. Our walk
reads packed weights itself (promptkd/model/blocks.py), so the change is added to the weight before it, which costs the
gradient of the whole weight and no second path.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from torch import Tensor, nn

from promptkd.model.parts import ImageTower
from promptkd.model.towers import blocks_of, layers_of, place_in
from promptkd.texts import clipped, closest

ADVICE = "TUNE lora needs the package peft: pip install 'promptkd[lora]' (or pip install peft)"
_ADAPTER = "default"  # peft's name of the first adapter


class LowRank(nn.Module):
    """The low-rank adapters of some of an encoder's layers, under the encoder's names; at first they change nothing.

    Args:
        visual: an image encoder.
        rank: r.
        alpha: the change is alpha / r B A.
        modules: ends of the names of layers ("attn", "mlp.c_fc"); () for every one of the blocks.

    Raises:
        ImportError: peft is not there.
        ValueError: no layer has such a name.
    """

    def __init__(self, visual: ImageTower, rank: int, alpha: float, modules: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._layers: dict[str, Any] = {}  # name of a weight -> peft's layer; no module of this one, so that its
        # frozen weight is no part of what is saved
        for name, layer in _adapted(visual, rank, alpha, chosen_layers(visual, modules)).items():
            self._layers[name] = layer
            place = place_in(self, name.rpartition(".")[0])
            leaf = "" if name.endswith(".weight") else "in_proj_"
            place.add_module(f"{leaf}lora_A", layer.lora_A[_ADAPTER])
            place.add_module(f"{leaf}lora_B", layer.lora_B[_ADAPTER])

    def weights(self, visual: ImageTower) -> dict[str, Tensor]:
        """Name -> W + alpha / r B A, which takes the place of the encoder's W."""
        return {
            name: visual.get_parameter(name) + layer.get_delta_weight(_ADAPTER).view_as(visual.get_parameter(name))
            for name, layer in self._layers.items()
        }


def chosen_layers(visual: ImageTower, modules: tuple[str, ...]) -> list[str]:
    """The full names of the layers that LORA_MODULES names; without a name, of all layers in blocks and behind them.

    Raises:
        ValueError: an entry names no layer; the message has the closest one and all that there are.
    """
    layers = [name for name, _ in layers_of(visual)]
    if not modules:
        blocks, behind = blocks_of(visual)
        inside = {name.rpartition(".")[0] for names in (*blocks, behind) for name in names}
        return [name for name in layers if name in inside]
    chosen: set[str] = set()
    for entry in modules:
        fitting = [name for name in layers if name == entry or name.endswith(f".{entry}")]
        if not fitting:
            ends = sorted({name.rpartition(".")[2] for name in layers if not name.rpartition(".")[2].isdigit()})
            close = closest(entry, [*ends, *layers])
            raise ValueError(
                f"LORA_MODULES {clipped(entry)}: no layer of this image encoder ends in that name"
                + (f", did you mean {close}?" if close else "")
                + f" It has {', '.join(ends)}"
            )
        chosen |= set(fitting)
    return [name for name in layers if name in chosen]


def check_installed() -> None:
    """Raises ImportError, with what to install, where peft is missing."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise ImportError(ADVICE)


def _adapted(visual: ImageTower, rank: int, alpha: float, layers: list[str]) -> dict[str, Any]:
    """Name of a weight -> peft's adapter of it, whose frozen layer holds no numbers any more."""
    check_installed()
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    names = "|".join(map(re.escape, layers))  # whole names: of a list, each entry would be an end of names
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0)  # type: ignore[arg-type]
    adapted = inject_adapter_in_model(config, copy.deepcopy(visual).float())
    found = {}
    for name, layer in adapted.named_modules():
        if isinstance(layer, LoraLayer):
            attention = isinstance(layer.get_base_layer(), nn.MultiheadAttention)
            found[f"{name.replace('.base_layer', '')}.{'in_proj_weight' if attention else 'weight'}"] = layer
    for layer in found.values():
        base = layer.get_base_layer()
        for part, value in base.named_parameters(recurse=False):
            base._parameters[part] = nn.Parameter(value.to("meta"), requires_grad=False)
    return found
