"""Several processes for one run: `torchrun --nproc_per_node=N train.py ...`, a GPU each, or a share of the CPU.

Every process has the same model and 1/N of each batch, and torch's DistributedDataParallel averages the gradients. So N
processes learn the same as one process with the same batches, to rounding. With one process nothing here has an effect.

Example with 2 processes and batches of 8 images:

    with session():                  # joins the two processes; process 1 prints nothing
        connect(use_cuda=True)       # process 0 takes GPU 0, process 1 takes GPU 1
        with main_first(): ...       # process 0 downloads and lists the data, then process 1 reads it
        parallel(prompts, losses)    # 4 images each; after the backward pass both have the mean gradients
        gather_rows(...)             # evaluation: (b, C) logits of each process on both

Over 250 lines because half of them explain the other half.
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

from promptkd import launcher
from promptkd.model.batchnorm import synchronize

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_LONGEST_WAIT = timedelta(hours=6)  # of the other processes, while the main one downloads, lists and checks the data

# State of this process. The store is torchrun's table of keys and values that all processes of a run read and write.
_store: dist.Store | None = None  # from the start of a session to its end
_turns = 0  # number of `main_first` blocks so far, the same in all processes
_reports_error: bool | None = None  # whether this process reports the error that ended the session; None: no error


def rank() -> int:
    """The number of this process, 0 for the main one, which writes and prints."""
    return dist.get_rank() if _connected() else 0


def world_size() -> int:
    """The number of processes of the run."""
    return dist.get_world_size() if _connected() else 1


def is_main() -> bool:
    """Whether this is the main process, which writes and prints."""
    return rank() == 0


def _connected() -> bool:
    """Whether this process is in a process group, see `connect`."""
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Joins the processes that torchrun started, for as long as the context lasts; all but the main one are silent.

    At the end, also after an error, the process group is taken down; after an error one process is chosen to report it
    (`tells_error`). Without torchrun, with one process, or within another session, the context does nothing.
    """
    global _store, _reports_error
    _reports_error = None
    started = all(name in os.environ for name in _TORCHRUN) and int(os.environ["WORLD_SIZE"]) > 1
    if not started or _store is not None:
        yield
        return
    launcher.check()
    launcher.end_with_it()
    # Waits until all processes of the run are here; they then share the store.
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
            # NCCL's communicators are destroyed by all processes together. The others may be waiting for this one in
            # an operation, so that this would hang: the group is left to the end of this process, after which torchrun
            # ends the others.
            takes_down = not (_connected() and dist.get_backend() == "nccl")
            raise
        finally:
            if _connected() and takes_down:
                dist.destroy_process_group()
            _store = None


def connect(use_cuda: bool) -> None:
    """Makes the process group of a session: NCCL between GPUs, gloo between CPUs. No effect outside of a session.

    Args:
        use_cuda: whether the processes use GPUs, where there are any.

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
        torch.cuda.set_device(device)  # the device "cuda" from here on
    dist.init_process_group("nccl" if device else "gloo", store=_store, rank=number, world_size=size, device_id=device)


def tells_error() -> bool:
    """Whether this process reports the error that has just ended a session, so that N processes report it once."""
    return _reports_error is not False


def _claim_error() -> None:
    """Decides whether this process reports an error: the first one with an error does; the others' follow from it.

    Each process adds 1 to a counter in the store; the one that gets 1 back was the first.
    """
    global _reports_error
    if _reports_error is None and _store is not None:
        try:
            _reports_error = _store.add("errors", 1) == 1
        except RuntimeError:  # the process that holds the store has ended, with the first error
            _reports_error = False


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """Runs a block in the main process first, then in the others, which find its files on disk.

    So data is downloaded, drawn and listed once. All processes have to enter the same blocks in the same order: the
    main one sets a key in the store at the end of its n-th block, and the others wait for the key of their n-th.

    Raises:
        RuntimeError: the main process failed in the block.
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
    _store.wait([key], _LONGEST_WAIT)
    if _store.get(key) != b"done":
        raise RuntimeError("process 0 failed")
    yield


def of_main(name: str, value: bool) -> bool:
    """The main process's value, in every process; also where the main one goes first (`main_first`), once a block.

    Args:
        name: of the value, one of its own.
        value: of this process.
    """
    if world_size() == 1 or _store is None:
        return value
    key = f"{name} {_turns}"
    if is_main():
        _store.set(key, str(int(value)))
        return value
    return _store.get(key) == b"1"  # waits for it


def barrier() -> None:
    """Waits until every process is here."""
    if world_size() > 1:
        dist.barrier()


def check_batch(batch_size: int, accumulate: int) -> None:
    """Refuses a batch that the processes cannot share equally. Example: 9 images and 2 processes; 8 or 10 would do.

    Args:
        batch_size: images of a step, of all processes together (DATALOADER.TRAIN_X.BATCH_SIZE).
        accumulate: parts into which each process cuts its share (TRAIN.ACCUMULATE).

    Raises:
        ValueError: the batch cannot be shared, or a share cannot be cut into so many parts.
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
    """Refuses a value that differs from the main process's: the machines then read different folders.

    Args:
        value: of this process.
        what: its name in the message ("finished epochs:").

    Raises:
        ValueError: the values differ.
    """
    if world_size() > 1:
        mains: list[int] = [value]
        dist.broadcast_object_list(mains, src=0)  # puts process 0's value into the list of every process
        if mains[0] != value:
            raise ValueError(
                f"process {rank()} sees {what} {value}, process 0 sees {mains[0]}: "
                "OUTPUT_DIR (and RESUME) must be on a disk that all machines share"
            )


class _Step(nn.Module):
    """A trainer's losses as the forward pass of a module that holds the learned module, in the form that DDP needs."""

    def __init__(self, prompts: nn.Module, losses: Callable[[Any], dict[str, Tensor]]) -> None:
        super().__init__()
        self.prompts = prompts
        self._losses = losses

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self._losses(batch)


def parallel(prompts: nn.Module, losses: Callable[[Any], dict[str, Tensor]]) -> nn.Module | None:
    """A module that computes the losses of this process's share, and averages gradients in the backward pass.

    BatchNorm in `prompts` takes its statistics from the whole batch from here on.

    Args:
        prompts: the learned module.
        losses: a batch, the share of this process -> named losses.

    Returns:
        The module; None with one process.
    """
    if world_size() == 1:
        return None
    synchronize(prompts)
    # Buffers need no broadcast: BatchNorm's are equal, as all processes compute them from the whole batch.
    return DistributedDataParallel(_Step(prompts, losses), broadcast_buffers=False)


def mean(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means of named scalars over all processes."""
    if world_size() == 1:
        return parts
    values = torch.stack([part.float() for part in parts.values()])
    dist.all_reduce(values)
    return dict(zip(parts, values / world_size(), strict=True))


def add_up(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same on each; of one process the tensor itself."""
    if world_size() > 1:
        value = value.contiguous()
        dist.all_reduce(value)
    return value


def gather_rows(rows: Tensor | None, most: int, width: int, device: torch.device) -> list[Tensor]:
    """Gathers the rows of every process's batch on all processes.

    Example: 2 processes with 6 and 3 rows of 10 logits, `most` = 6 -> two tensors (6, 10) on both processes, of which
    the last 3 rows of the second are 0.

    Args:
        rows: (b, C) float32 of this process, b at most `most`; None where it has no batch.
        most: the largest b of any process.
        width: C.
        device: of `rows`.

    Returns:
        A tensor (most, C) for each process, in their order, on the CPU; rows behind its b are 0.
    """
    table = torch.zeros(most, width, device=device)  # all_gather needs the same shape from every process
    if rows is not None:
        table[: len(rows)] = rows
    tables = [torch.empty_like(table) for _ in range(world_size())]
    dist.all_gather(tables, table)
    return [gathered.cpu() for gathered in tables]
