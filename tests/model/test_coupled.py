"""CoCoOp's context for each image and MaPLe's maps, against loops; memory that does not grow with images x classes."""

from __future__ import annotations

import pytest
import torch
from conftest import CLASSES, SIZE
from torch import Tensor

from promptkd.model.compound import CompoundPrompts
from promptkd.model.conditional import ConditionalPrompts
from promptkd.model.prompting import encode_image, encode_text
from promptkd.model.text import insert_context
from promptkd.model.zoo import load_clip


@pytest.fixture(scope="module")
def clip(clips: dict[str, str]):
    return load_clip(clips["student"])


@pytest.fixture
def conditional(clip) -> ConditionalPrompts:
    torch.manual_seed(0)
    return ConditionalPrompts(clip, n_text=3)


def one_by_one(prompts: ConditionalPrompts, clip, features: Tensor) -> Tensor:
    tokens = prompts.tokens(clip, CLASSES)
    rows = []
    for feature in features:
        moved = prompts.ctx + prompts.meta_net(feature)  # (n, d)
        rows.append(encode_text(clip, insert_context(tokens, moved), tokens.eot))
    return torch.stack(rows)


@pytest.mark.parametrize("chunk", [1, 4, 7, 1000])
def test_text_of_each_image_equals_a_loop(clip, conditional, chunk: int):
    features = torch.nn.functional.normalize(torch.randn(3, 16), dim=-1)
    tokens = conditional.tokens(clip, CLASSES)
    gradients = []
    conditional.text_chunk = chunk
    for compute in (
        lambda: conditional.encode_text_for(clip, tokens, features),
        lambda: one_by_one(conditional, clip, features),
    ):
        conditional.zero_grad()
        text = compute()  # (B, C, D)
        assert text.shape == (3, len(CLASSES), 16)
        (text * torch.arange(16.0)).square().sum().backward()
        gradients.append([text.detach(), *(p.grad.clone() for p in conditional.parameters())])
    for ours, naive in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-4, atol=1e-4 * float(naive.abs().max()))


def test_kept_memory_does_not_grow_with_images_times_classes(clip, conditional):
    tokens = conditional.tokens(clip, [f"{name} {thing}" for name in CLASSES for thing in CLASSES])

    def kept(images: int, chunk: int) -> int:
        """Bytes that the graph keeps for the backward pass."""
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        conditional.text_chunk = chunk
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            conditional.encode_text_for(clip, tokens, torch.randn(images, 16))
        return total

    whole, part = kept(16, 10_000), kept(16, 10)
    # outputs, contexts and their keys and values alone grow
    assert part * 10 < whole and kept(32, 10) <= part * 2


def test_visual_prompts_are_maps_of_the_text_prompts(clip):
    torch.manual_seed(0)
    prompts = CompoundPrompts(clip, n_text=2, depth=3, phrase="a photo of a")
    first, *deeper = prompts.projections
    assert torch.equal(deeper[0].weight, deeper[1].weight) and not torch.equal(first.weight, deeper[0].weight)
    images = torch.randn(2, 3, SIZE, SIZE)
    tokens = [first.weight @ row + first.bias for row in prompts.ctx]
    visual = [torch.stack(tokens)]
    for layer, text in zip(deeper, prompts.text_prompts, strict=True):
        visual.append(torch.stack([layer.weight @ row + layer.bias for row in text]))
    torch.testing.assert_close(prompts.encode_image(clip, images), encode_image(clip.visual, images, visual))
    assert prompts.template == "a photo of a {}."  # "of a" stays where two tokens are learned
