"""The process in which a repository's code runs: bridges first, then its train.py, then a report."""

from __future__ import annotations

import multiprocessing
import platform
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from promptkd import bounded, files
from promptkd.host.bridges import Crossing, all_bridges
from promptkd.host.explain import explain
from promptkd.host.imports import RepositoryFinder
from promptkd.host.watch import Watch


def run_step(path: str | Path) -> int:
    """Starts a repository's train.py once, as a file says that `promptkd.host.run` wrote; returns the exit code.

    The report goes where the file says: what the evaluator measured, the bridges that were needed, or the error.
    """
    order: dict[str, Any] = bounded.read_json(path)
    folder, report = Path(order["copy"]), Path(order["report"])
    crossing = Crossing(
        folder, Path(order["original"]), order["cpu"], order["data"], tuple(map(Path, order["trust"])),
        tuple(Path(place).resolve() for place in order["written"]),
    )  # fmt: skip
    watch = Watch(report.with_suffix(".alive"))
    about: dict[str, Any] = {}
    try:
        _run(order, crossing, watch)
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        if error.code not in (0, None):
            about["error"] = explain(error, folder, "")
    except BaseException as error:
        traceback.print_exc()
        about["error"] = explain(error, folder, _trainer_file(order["trainer"], folder))
    about |= watch.report()
    about |= {"bridges": sorted(crossing.used), "data": "ours" if "data_sets" in crossing.used else "theirs"}
    files.write_json(report, about | _environment(order["cpu"]))
    return int("error" in about)


def _run(order: dict[str, Any], crossing: Crossing, watch: Watch) -> None:
    """Puts up the bridges and runs the repository's main program in this process."""
    folder = crossing.folder
    sys.path.insert(0, str(folder))
    sys.meta_path.insert(0, RepositoryFinder(folder))
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)  # so that loaders' workers have the bridges, too
    for place in order["mapped"]:
        crossing.note("paths_of_its_authors", place)
    for name in order["left"]:
        crossing.note("its_dassl", f"{name}/ is left out, this project's toolkit is dassl")
    for bridge in all_bridges().values():
        bridge(crossing)
    watch.install()
    if order["train"]:
        sys.argv = [str(folder / order["train"]), *order["words"]]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        from promptkd.host.entry import main

        crossing.note("our_train", "the repository has no train.py")
        main(order["words"], folder / order["own_file"], folder)


def _trainer_file(name: str, folder: Path) -> str:
    """The file of the copy that a registered trainer is of."""
    from dassl.engine import TRAINER_REGISTRY

    kind = TRAINER_REGISTRY._objects.get(name)
    file = getattr(sys.modules.get(getattr(kind, "__module__", "")), "__file__", None)
    return Path(file).relative_to(folder).as_posix() if file and folder in Path(file).parents else ""


def _environment(cpu: bool) -> dict[str, Any]:
    """Versions and device of this process."""
    import torch
    import torchvision

    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    gpu = not cpu and torch.cuda.is_available()
    device = f"cuda: {torch.cuda.get_device_name()}" if gpu else f"cpu: {platform.processor() or platform.machine()}"
    return {"versions": versions, "device": device}
