"""What PyTorch has changed since old code was written."""

from __future__ import annotations

import functools
import os
import pickle
from pathlib import Path
from typing import Any

from promptkd.host.bridges import Crossing


def trusted_files(crossing: Crossing) -> None:
    """`torch.load` reads files that the user names by --trust whole, as it did before 2.6, and tensors of any other.

    What a run's own code wrote into its directory counts as named.
    """
    import torch

    @functools.wraps(torch.load)
    def load(*args: Any, **options: Any) -> Any:
        with torch._C.DisableTorchFunction():  # `device._Rewriter` is not to see how a tensor is put together
            return whole(*args, **options)

    whole = torch.load
    trusted = {path.resolve() for path in crossing.trust}

    @functools.wraps(whole)
    def bridged(f: Any, map_location: Any = None, *args: Any, **options: Any) -> Any:
        if crossing.cpu:
            map_location = "cpu"
        path = Path(os.fspath(f)).absolute() if isinstance(f, (str, os.PathLike)) else None
        written_here = path is not None and any(folder in path.resolve().parents for folder in crossing.written)
        if path is not None and (written_here or trusted & {path.resolve(), _original(path, crossing).resolve()}):
            if options.get("weights_only") is None:
                crossing.note("trusted_files", f"{path.name} was read whole")
                options["weights_only"] = False
            return load(f, map_location, *args, **options)
        try:
            return load(f, map_location, *args, **options)
        except pickle.UnpicklingError as error:
            shown = _original(path, crossing) if path is not None else "a file"
            raise ValueError(
                f"{shown} holds more than tensors, and reading that runs what it says: name it by --trust {shown} "
                "if you trust it"
            ) from error

    torch.load = bridged


def verbose_schedulers(crossing: Crossing) -> None:
    """Schedulers take `verbose` again, and do nothing with it: PyTorch 2.7 has taken it away."""
    import inspect

    from torch.optim import lr_scheduler

    kinds = [kind for kind in vars(lr_scheduler).values() if isinstance(kind, type)]
    for kind in {kind for kind in kinds if issubclass(kind, lr_scheduler.LRScheduler)}:
        if "__init__" in vars(kind) and "verbose" not in inspect.signature(kind.__init__).parameters:
            setattr(kind, "__init__", _without_verbose(kind.__init__, crossing))  # noqa: B010


def _without_verbose(initialise: Any, crossing: Crossing) -> Any:
    import inspect

    positions = len(inspect.signature(initialise).parameters)  # self included

    @functools.wraps(initialise)
    def bridged(self: Any, *args: Any, **options: Any) -> None:
        if "verbose" in options or (len(args) == positions and isinstance(args[-1], (bool, str))):
            crossing.note("verbose_schedulers", f"{type(self).__name__}(verbose)")
            options.pop("verbose", None)
            args = args[: positions - 1]
        initialise(self, *args, **options)

    return bridged


def _original(path: Path, crossing: Crossing) -> Path:
    """A file of the copy as the repository's; any other as it is."""
    if crossing.folder in path.parents:
        return crossing.original / path.relative_to(crossing.folder)
    return path
