"""Code that asks for a GPU and half precision, on a machine with a CPU alone."""

from __future__ import annotations

from typing import Any

from promptkd.host.bridges import Crossing


def no_gpu(crossing: Crossing) -> None:
    """With --cpu, `.cuda()`, `.to("cuda")` and `device="cuda"` stay on the CPU, and waiting for a GPU is nothing.

    Raises:
        ValueError: there is no GPU, and --cpu is not given.
    """
    import torch

    if not crossing.cpu:
        if not torch.cuda.is_available():
            raise ValueError("there is no GPU here: give --cpu, with which its .cuda() stays on the CPU")
        return
    _Rewriter(crossing).__enter__()
    for name in ("synchronize", "set_device", "reset_peak_memory_stats", "reset_max_memory_allocated", "empty_cache"):
        setattr(torch.cuda, name, lambda *_, **__: crossing.note("no_gpu", "torch.cuda was asked to wait"))
    for name in ("max_memory_allocated", "memory_allocated", "max_memory_reserved", "memory_reserved"):
        setattr(torch.cuda, name, lambda *_, **__: 0)


def half_precision(crossing: Crossing) -> None:
    """With --cpu, what asks for float16 gets float32: CPUs compute in half precision slowly, and some things not."""
    # `_Rewriter`, which `no_gpu` has put up, sees every call for a type as well as for a device.


def _of_gpu(value: Any) -> bool:
    import torch

    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and (value == "cuda" or value.startswith("cuda:"))


class _Rewriter:
    """Sees every function of PyTorch that is called, and puts CPU and float32 for a GPU and float16."""

    def __init__(self, crossing: Crossing) -> None:
        import torch
        from torch.overrides import TorchFunctionMode

        half, single = torch.float16, torch.float32
        moves = {torch.Tensor.to, torch.Tensor.type, torch.Tensor.new_tensor, torch.Tensor.new_zeros}
        moves |= {torch.Tensor.new_ones, torch.Tensor.new_full, torch.Tensor.new_empty}
        names = ("torch.HalfTensor", "torch.cuda.HalfTensor")

        def changed(value: Any) -> Any:
            if value is half or (isinstance(value, str) and value in names):
                crossing.note("half_precision", "float16 is float32")
                return single
            if _of_gpu(value):
                crossing.note("no_gpu", "a GPU is the CPU")
                return "cpu"
            return value

        class Mode(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                kwargs = kwargs or {}
                if func is torch.Tensor.cuda:
                    crossing.note("no_gpu", ".cuda() is nothing")
                    return args[0]
                if func is torch.Tensor.half:
                    crossing.note("half_precision", ".half() is .float()")
                    return args[0].float()
                if func in moves:
                    args = (args[0], *map(changed, args[1:]))
                elif func is torch.set_default_dtype:
                    args = tuple(map(changed, args))
                if "device" in kwargs or "dtype" in kwargs:
                    kwargs = {key: changed(value) for key, value in kwargs.items()}
                return func(*args, **kwargs)

        self.mode = Mode()

    def __enter__(self) -> None:
        self.mode.__enter__()
