"""Several processes for one run: `torchrun --nproc_per_node=N train.py ...`, a GPU each, or a share of the CPU.

Every process has the same model and 1/N of each batch; torch's DistributedDataParallel averages the gradients, so that
what is learned is what one process learns from the same batches, to rounding. With one process all of this is inert.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from promptkd.model.batchnorm import synchronize

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SLOWEST_START = timedelta(hours=6)  # one process lists, checks and downloads what all read

_store: dist.Store | None = None  # torchrun's, from the start of a session to its end
_turns = 0  # of `main_first`
_speaks: bool | None = None  # whether this process tells of the error that ended a session; None: none did


def rank() -> int:
    """Number of this process, 0 for the one that writes and prints."""
    return dist.get_rank() if _connected() else 0


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if _connected() else 1


def is_main() -> bool:
    """Whether this process writes and prints."""
    return rank() == 0


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Joins the processes that torchrun started for as long as the context lasts; the others print nothing.

    On an error, too, the process group is taken down, and one process is chosen to tell of it (`tells_error`).
    """
    global _store, _speaks
    _speaks = None
    started = all(name in os.environ for name in _TORCHRUN) and int(os.environ["WORLD_SIZE"]) > 1
    if not started or _store is not None:  # one process, or within another session
        yield
        return
    _store = next(dist.rendezvous("env://", timeout=timedelta(minutes=10)))[0]
    with contextlib.ExitStack() as stack:
        if int(os.environ["RANK"]):
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        takes_down = True
        try:
            yield
        except BaseException:
            _claim_error()
            # NCCL's communicators are destroyed by all processes together, and the others may wait for this one: it
            # leaves them to the end of the process, after which torchrun ends the others.
            takes_down = not (_connected() and dist.get_backend() == "nccl")
            raise
        finally:
            if _connected() and takes_down:
                dist.destroy_process_group()
            _store = None


def connect(use_cuda: bool) -> None:
    """Makes the process group of a session: NCCL between GPUs, gloo between CPUs.

    Raises:
        ValueError: a machine has fewer GPUs than processes.
    """
    if _store is None or _connected():
        return
    number, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    device = None
    if use_cuda and torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local + 1} of this machine has no GPU of its own, as there are {torch.cuda.device_count()}: "
                f"use torchrun --nproc_per_node={torch.cuda.device_count()}, or USE_CUDA False"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)  # what "cuda" means from here on
    dist.init_process_group("nccl" if device else "gloo", store=_store, rank=number, world_size=size, device_id=device)


def tells_error() -> bool:
    """Whether the error that has just left a session is this process's to tell: so one line says it, not N."""
    return _speaks is not False


def _claim_error() -> None:
    """The first process to meet an error is the one that tells of it; what the others meet follows from it."""
    global _speaks
    if _speaks is None and _store is not None:
        try:
            _speaks = _store.add("errors", 1) == 1
        except RuntimeError:  # the store's own process is gone, and with it the first error
            _speaks = False


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """A block that the main process runs before the others do: these find on disk what it downloaded, drew and listed.

    Raises:
        RuntimeError: the main process failed in it.
    """
    global _turns
    if world_size() == 1 or _store is None:
        yield
        return
    _turns += 1
    key = f"main_first {_turns}"
    if is_main():
        try:
            yield
        except BaseException:
            _claim_error()
            _store.set(key, "failed")
            raise
        _store.set(key, "done")
        return
    _store.wait([key], _SLOWEST_START)
    if _store.get(key) != b"done":
        raise RuntimeError("process 0 failed")
    yield


def barrier() -> None:
    """Waits until every process is here."""
    if world_size() > 1:
        dist.barrier()


def check_batch(batch_size: int, accumulate: int) -> None:
    """The batch of a step is that of all processes together, and each needs the same share of it.

    Raises:
        ValueError: it cannot be shared, or a share cannot be cut into `accumulate` parts.
    """
    size = world_size()
    if batch_size % size:
        down, up = batch_size // size * size, (batch_size // size + 1) * size
        sizes = " or ".join(str(number) for number in (down, up) if number)
        fit = ", ".join(str(number) for number in range(1, size) if batch_size % number == 0)
        raise ValueError(
            f"DATALOADER.TRAIN_X.BATCH_SIZE {batch_size} is the batch of all {size} processes together and cannot be "
            f"shared equally: set it to {sizes}, or use {fit} processes"
        )
    share = batch_size // size
    if not 1 <= accumulate <= share:
        raise ValueError(f"TRAIN.ACCUMULATE {accumulate}: a process has {share} images a step, set 1 to {share}")


def check_same(value: int, what: str) -> None:
    """Raises ValueError where this process sees something else than the main one."""
    if world_size() > 1:
        seen: list[int] = [value]
        dist.broadcast_object_list(seen, src=0)
        if seen[0] != value:
            raise ValueError(
                f"process {rank()} sees {what} {value}, process 0 sees {seen[0]}: "
                "OUTPUT_DIR (and RESUME) must be on a disk that all machines share"
            )


class _Step(nn.Module):
    """A trainer's losses as the forward pass of a module that owns what is learned, for DDP to see both."""

    def __init__(self, prompts: nn.Module, losses: Callable[[Any], dict[str, Tensor]]) -> None:
        super().__init__()
        self.prompts = prompts
        self._losses = losses

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self._losses(batch)


def parallel(prompts: nn.Module, losses: Callable[[Any], dict[str, Tensor]]) -> nn.Module | None:
    """What computes the losses of this process's share, and on the way back averages gradients over all processes.

    BatchNorm in `prompts` takes its statistics from the whole batch from here on. None with one process.
    """
    if world_size() == 1:
        return None
    synchronize(prompts)
    return DistributedDataParallel(_Step(prompts, losses), broadcast_buffers=False)  # BatchNorm's are equal


def mean(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars of each process -> their means over all."""
    if world_size() == 1:
        return parts
    values = torch.stack([part.float() for part in parts.values()])
    dist.all_reduce(values)
    return dict(zip(parts, values / world_size(), strict=True))


def gather_rows(rows: Tensor | None, most: int, width: int, device: torch.device) -> list[Tensor]:
    """What every process computed of its own batch, on each.

    Args:
        rows: (b, C) float32 of this process, b of at most `most`; None where it has no batch.
        most: largest b of any.
        width: C.
        device: where `rows` are.

    Returns:
        A tensor (most, C) for each process in order, on the CPU; rows after its b are filled with 0.
    """
    own = torch.zeros(most, width, device=device)
    if rows is not None:
        own[: len(rows)] = rows
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return [part.cpu() for part in parts]
