"""A GPU that is not there: tensors that say they are on cuda:0 and keep their values in the CPU's memory.

Inside `pretended()` PyTorch sees one GPU. What is sent there or made there comes out as `OnGpu`, with which real
programs run: device, autocast and dtype are those of CUDA, and what a GPU refuses is refused (tensors of two devices in
one operation, a normalisation in half precision by float32 weights). Two things are not real: gradients are zeros,
because torch's engine wants a real device, and there are no kernels, streams or compilers of CUDA's.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # before anything is replaced: it looks functions up by identity
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
MEMORY = 2**34  # bytes
aten = torch.ops.aten
CROSSES = {aten.copy_.default, aten._to_copy.default}
INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
ANSWERS = {aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default}
CPU_TENSOR, CPU_AS_TENSOR = torch.tensor, torch.as_tensor


class OnGpu(Tensor):
    """A tensor on the pretended GPU; `inner` has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        said = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.size(), **said, device=GPU)
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return compute(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: OnGpu) -> None:
        Tensor.data.__set__(self, value)
        self.inner = value.inner

    def __reduce_ex__(self, protocol: int) -> Any:  # for checkpoints
        return self.inner.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"OnGpu({self.inner!r})"


class Intercepted(TorchDispatchMode):
    """All operations, those on the CPU too: they may make a tensor on the GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return compute(func, args, kwargs or {})


WAITS: Counter[str] = Counter()  # how often the CPU has waited for the GPU, by operation


def compute(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """An operation of PyTorch, on the CPU, its results on the device where CUDA's would be.

    Raises:
        RuntimeError: CUDA would refuse it.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    mine = any(isinstance(one, OnGpu) for one in tensors)
    if func is aten._pin_memory.default:
        return args[0].clone()
    asked = kwargs.get("device")
    goes = mine if asked is None else torch.device(asked).type == "cuda"
    if func is aten.copy_.default:
        goes = isinstance(args[0], OnGpu)
    if mine:
        refuse(func, args, tensors)
    if mine and (func in ANSWERS or (func in CROSSES and not goes)):
        WAITS[func.name()] += 1
    if mine and func in (aten._softmax.default, aten._log_softmax.default) and args[2]:  # half to float at once
        args = (args[0].float(), args[1], False)
    changes = {} if asked is None else {"device": CPU}
    changes |= {"pin_memory": False} if kwargs.get("pin_memory") else {}
    inner_args, inner_kwargs = tree_map(lambda leaf: leaf.inner if isinstance(leaf, OnGpu) else leaf, (args, kwargs))
    result = func(*inner_args, **(inner_kwargs | changes))
    if func is aten.copy_.default:
        return args[0]
    if not goes:
        return result
    result = tree_map(lambda leaf: OnGpu(leaf) if isinstance(leaf, Tensor) else leaf, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if mine else result


def refuse(func: Any, args: tuple, tensors: list[Tensor]) -> None:
    """Raises RuntimeError where CUDA would, and a CPU does not."""
    elsewhere = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
    may = func in CROSSES or (func in INDEXES and isinstance(args[0], OnGpu))  # a GPU's tensor by a CPU's index
    if elsewhere and not may:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found cuda:0 and cpu")
    if func is aten.native_layer_norm.default and args[2] is not None and args[0].dtype != args[2].dtype:
        raise RuntimeError(f"{func}: expected weights of {args[0].dtype}, got {args[2].dtype}")


def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    """torch.tensor, which makes its tensor below all that can be intercepted."""
    made = CPU_TENSOR(data, **options)
    return made if device is None else made.to(device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """torch.as_tensor, likewise."""
    made = CPU_AS_TENSOR(data, dtype=dtype)
    return made if device is None else made.to(device)


def backward(loss: Tensor, *args: Any, **options: Any) -> None:
    """Gives each learned tensor that a loss depends on a gradient of zeros."""
    seen: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)
        waiting += [following for following, _ in node.next_functions]


def _nothing(*args: Any, **options: Any) -> None:
    pass


@contextlib.contextmanager
def pretended() -> Iterator[Counter[str]]:
    """One GPU; yields WAITS, at 0."""
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda *args, **options: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *args: "pretended",
        "mem_get_info": lambda *args: (MEMORY, MEMORY),
        "max_memory_allocated": lambda *args: 0,
        "memory_allocated": lambda *args: 0,
        "memory_reserved": lambda *args: 0,
        "get_rng_state_all": lambda: [],
    }
    silent = ("synchronize", "set_device", "empty_cache", "manual_seed", "manual_seed_all", "set_rng_state_all")
    answers |= dict.fromkeys((*silent, "reset_peak_memory_stats", "_lazy_init"), _nothing)
    torch._C._ensureCUDADeviceGuardSet()
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a wrapper cannot become another in place
    WAITS.clear()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(Tensor, "backward", backward))
        stack.enter_context(mock.patch.object(torch, "tensor", tensor))
        stack.enter_context(mock.patch.object(torch, "as_tensor", as_tensor))
        stack.enter_context(Intercepted())
        yield WAITS
