"""Attention by products in bfloat16 on a CPU, against attention in float64; memory that stays with the process."""

from __future__ import annotations

import ctypes
import resource

import pytest
import torch
from torch.nn import functional as F

from promptkd.model import allocation, blocks


def heads(images: int, tokens: int, dtype: torch.dtype, asking: int = 0) -> list[torch.Tensor]:
    """Queries, keys and values as views of one product, (images, 3, tokens, 16)."""
    packed = torch.randn(images, tokens, 3 * 48, generator=torch.Generator().manual_seed(0)).to(dtype)
    q, k, v = packed.unflatten(-1, (3, 3, 16)).permute(2, 0, 3, 1, 4).unbind()
    return [q[:, :, : asking or tokens], k, v]


@pytest.mark.parametrize(("asking", "at_once"), [(0, 2**21), (0, 1), (0, 700), (1, 2**21)])
def test_products_are_attention(monkeypatch, asking: int, at_once: int):
    """All images together, one at a time, two at a time (5 are no multiple); all queries, and that of one token."""
    q, k, v = given = heads(5, 9, torch.bfloat16, asking)
    monkeypatch.setattr(blocks, "SCORES_AT_ONCE", at_once)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)  # torch's is not used
    found = blocks.attend(*given)
    monkeypatch.undo()
    wanted = F.scaled_dot_product_attention(*(one.double() for one in given))
    assert found.shape == q.shape and found.dtype is torch.bfloat16
    assert (found - wanted).norm() < 0.01 * wanted.norm()
    assert found.transpose(1, 2).is_contiguous()  # `finish` lays the heads side by side without a copy


def test_gradients_of_products():
    gradients = []
    for dtype in (torch.bfloat16, torch.float64):
        given = [one.detach().requires_grad_() for one in heads(4, 9, torch.bfloat16)]
        result = blocks.attend(*(one.to(dtype) for one in given))
        weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        gradients.append(torch.autograd.grad((result.double() * weights).sum(), given))
    for found, wanted in zip(*gradients, strict=True):
        assert (found - wanted).norm() < 0.02 * wanted.norm() and wanted.norm() > 0


@pytest.mark.parametrize(("dtype", "masked"), [(torch.float32, False), (torch.bfloat16, True)])
def test_the_rest_is_torchs(monkeypatch, dtype: torch.dtype, masked: bool):
    given = heads(2, 4, dtype)
    mask = torch.full((4, 4), float("-inf"), dtype=dtype).triu(1) if masked else None
    monkeypatch.setattr(blocks, "_by_products", None)
    assert torch.equal(blocks.attend(*given, mask), F.scaled_dot_product_attention(*given, attn_mask=mask))


def test_freed_memory_is_used_again(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert not allocation.keep_freed_memory()  # somebody has chosen
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    kept = allocation.keep_freed_memory()
    assert kept == hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    if not kept:
        return

    def new_pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(12 * 2**20)  # 48 MiB, above all that glibc keeps by itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # Aligned blocks need a little more than they leave, so that a heap grows once or twice before it is enough.
    assert min(new_pages() for _ in range(6)) < 500  # of 12,288
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # another C library
    assert not allocation.keep_freed_memory()
