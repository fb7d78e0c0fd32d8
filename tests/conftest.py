"""Small things every test can have: two random CLIPs, a data tree laid out like EuroSAT's, and a run of train.main."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file
from time_budget import TimeBudget

from promptkd import logs
from promptkd.home import ROOT

CLASSES = ["Annual Crop Land", "Forest", "Highway or Road", "River", "Sea or Lake"]
SIZE = 32


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("PROMPT_CPU_BF16", "0")  # numbers of tests and of their commands are the same everywhere
    if os.environ.get("PROMPT_TEST_BUDGET") == "1":
        config.pluginmanager.register(TimeBudget())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report that can be sent between processes: tests of file names that are not UTF-8 print such names."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def tiny_config(embed_dim: int, width: int = 32, layers: int = 3) -> dict:
    """An open_clip configuration of a CLIP that trains in milliseconds."""
    return {
        "embed_dim": embed_dim,
        "vision_cfg": {"image_size": SIZE, "layers": layers, "width": width, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": width, "heads": 2, "layers": layers},
    }


def write_clip(path: Path, config: dict, seed: int) -> Path:
    """A randomly initialised CLIP as a safetensors file with its configuration beside it."""
    torch.manual_seed(seed)
    model = CLIP(**config)
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"model_cfg": config}))
    return path


@pytest.fixture(autouse=True)
def shown_messages() -> None:
    """What the library logs goes to standard output, as a command shows it, where `capsys` reads it."""
    logs.show()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of a "student" (16 channels) and a "teacher" (24 channels)."""
    return write_clips(tmp_path_factory.mktemp("clips"))


def write_clips(folder: Path) -> dict[str, str]:
    return {
        "student": str(write_clip(folder / "student.safetensors", tiny_config(16), 1)),
        "teacher": str(write_clip(folder / "teacher.safetensors", tiny_config(24), 2)),
    }


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root with `eurosat`: five classes of one colour each, 6/2/3 images a class, and their split file."""
    return write_data(tmp_path_factory.mktemp("data"))


def write_data(root: Path) -> str:
    rng = np.random.default_rng(0)
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(CLASSES):
        folder = root / "eurosat" / "2750" / name.split()[0]
        folder.mkdir(parents=True)
        for number in range(11):
            pixels = np.clip(rng.normal(40 * label + 30, 20, (40, 36, 3)) + [0, 25 * label, 0], 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg")
            part = "train" if number < 6 else "val" if number < 8 else "test"
            split[part].append([f"{folder.name}/{number}.jpg", label, name])
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return str(root)


def last_words(*words: str) -> list[str]:
    """The words of a command line, of a flag or key that stands there twice the last value alone."""
    left = list(words)
    values: dict[str, list[str]] = {}
    while left:
        name, equals, value = left.pop(0).partition("=") if left[0].startswith("--") else (left.pop(0), "", "")
        if name in ("--eval-only", "--no-train"):
            values[name] = [name]
        elif equals:
            values[name] = [name, value]
        else:
            values[name] = [name, *left[:1]]
            del left[:1]
    return [word for pair in values.values() for word in pair]


@pytest.fixture(scope="session")
def argv(clips: dict[str, str], data_root: str) -> Callable[..., list[str]]:
    """`argv(trainer, output_dir, KEY, VALUE or "--flag" words...)` -> the words of train.py; tiny and on the CPU."""

    def words(trainer: str, output: Path | str, *more: str, epochs: int = 2, seed: int = 1, backbone: str = ""):
        return run_words(data_root, backbone or clips["student"], trainer, output, *more, epochs=epochs, seed=seed)

    return words


def run_words(
    root: str, backbone: str, trainer: str, output: Path | str, *more: str, epochs: int = 2, seed: int = 1
) -> list[str]:
    flags = [word for word in more if word.startswith("--")]
    return last_words(
        *("--root", root, "--seed", str(seed), "--trainer", trainer, "--output-dir", str(output)),
        *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml"), *flags),
        *("MODEL.BACKBONE.NAME", backbone, "INPUT.SIZE", f"({SIZE}, {SIZE})"),
        *("DATALOADER.NUM_WORKERS", "0", "DATALOADER.TRAIN_X.BATCH_SIZE", "4", "OPTIM.MAX_EPOCH", str(epochs)),
        *("VERBOSE", "False", "USE_CUDA", "False", *(word for word in more if word not in flags)),
    )


@pytest.fixture(scope="session")
def run(argv: Callable[..., list[str]]) -> Callable[..., float]:
    """What train.main returns for the words that `argv` makes of the same arguments."""
    import train

    return lambda *words, **options: train.main(argv(*words, **options))


def result(directory: Path | str) -> dict:
    """A run's results.json."""
    return json.loads((Path(directory) / "results.json").read_text())
