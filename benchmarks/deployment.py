"""How large, how true and how fast the forms of an exported student are: sizes, agreement, cold start, many images.

    python -m benchmarks.deployment RUN --images FOLDER [--many 1000]
    python -m benchmarks.deployment --random ViT-B-16 --images FOLDER --count 32 --many 0

The second makes a student of that open_clip architecture with random weights (prompts in 9 blocks, a projector to 768
channels, 20 random class vectors), which computes what a trained one does. Forms: PyTorch, and ONNX in float32, float16
and 8 bits. Cold start is a process of `promptkd predict` for one image, from its start to its end, wall clock and CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from promptkd.home import command

FORMS: dict[str, dict[str, Any]] = {"ONNX fp32": {}, "ONNX fp16": {"half": True}, "ONNX int8": {"int8": "dynamic"}}
BATCH = 16


def random_student(architecture: str, folder: Path) -> Path:
    """A folder of a student with random weights, as `promptkd export --format safetensors` writes it."""
    import open_clip
    import torch

    from promptkd.deploy import export_folder
    from promptkd.deploy.classifier import Classifier
    from promptkd.model.class_vectors import ClassVectors
    from promptkd.model.precision import Precision
    from promptkd.model.prompted_clip import PromptedClip
    from promptkd.model.spec import PromptSpec

    torch.manual_seed(0)
    clip = open_clip.create_model(architecture, pretrained=None)
    clip.config = {"model_cfg": open_clip.get_model_config(architecture)}
    clip.requires_grad_(False).eval()
    spec = PromptSpec(n_vision=4, depth_vision=9, projector_layers=2, projector_dim=768)
    names = tuple(f"class {number}" for number in range(20))
    vectors = ClassVectors(names, torch.nn.functional.normalize(torch.randn(20, 768), dim=-1), 100.0)
    precision = Precision.choose("fp32", torch.device("cpu"))
    model = PromptedClip(clip, spec, precision, vectors=vectors, about={"backbone": architecture}).freeze()
    classifier = Classifier.of_model(model)
    folder.mkdir()
    export_folder.write(classifier, folder, {"trainer": "random weights"})
    return folder


def measure(model: Any, images: Sequence[Any]) -> tuple[Any, float, float]:
    """Probabilities (N, C), milliseconds of one image, and of an image in a batch: the best of some trials each."""
    import numpy as np

    from promptkd.deploy.ranking import softmax

    def timed(some: Sequence[Any]) -> tuple[float, Any]:
        start = time.perf_counter()
        logits = np.asarray(model.logits(some))
        return 1000 * (time.perf_counter() - start) / len(some), logits

    one = min(timed(images[number % len(images) :][:1])[0] for number in range(15))
    trials = [timed(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    return softmax(np.concatenate([logits for _, logits in trials])), one, min(seconds for seconds, _ in trials)


def process(*words: str) -> tuple[float, float]:
    """Wall clock and CPU seconds of `promptkd predict` with these words."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command("predict"), *words], check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rates(model: Any, paths: Sequence[str], count: int) -> tuple[float, float, float]:
    """Images a second: of the encoder on ready batches of 64, of reading and resizing alone, and of `predict`'s way."""
    import numpy as np

    from promptkd.data.images import read_upright
    from promptkd.deploy.sources import Picture
    from promptkd.deploy.stream import classified

    files = [paths[number % len(paths)] for number in range(count)]
    ready = np.concatenate([model.pixels([read_upright(path)]) for path in files[:64]])
    model.logits_of(ready)
    start = time.perf_counter()
    for _ in range(max(count // 64, 1)):
        model.logits_of(ready)
    encoder = max(count // 64, 1) * len(ready) / (time.perf_counter() - start)
    start = time.perf_counter()
    for path in files[:256]:
        model.pixels([read_upright(path)])
    reading = len(files[:256]) / (time.perf_counter() - start)
    start = time.perf_counter()
    pictures = (Picture(path, partial(read_upright, path)) for path in files)
    done = sum(1 for _ in classified(model, pictures, 64))
    return encoder, reading, done / (time.perf_counter() - start)


def rows_of(source: Path, folder: Path, images: Any, many: int) -> list[dict[str, Any]]:
    """One row for each form."""
    import torch

    from promptkd.deploy.exporting.forms import Form, write
    from promptkd.deploy.onnx_classifier import OnnxClassifier
    from promptkd.deploy.opening import load

    ours = load(source)
    opened = [image for batch, _ in images.batches(BATCH) for image in batch]
    wanted, one, batched = measure(ours, opened)
    weights = [value for part in (ours.model.clip.visual, ours.model.prompts) for value in part.state_dict().values()]
    size = sum(value.numel() * value.element_size() for value in weights)
    rows = [{"form": "PyTorch", "MB": size / 1e6, "same class": "", "largest": "", "one ms": one, "batch ms": batched}]
    places = [source]
    for name, options in FORMS.items():
        places.append(folder / f"{name.replace(' ', '-')}.onnx")
        write(ours, source, {}, Form("onnx", least_agreement=0, **options), places[-1], None)
        got, one, batched = measure(OnnxClassifier(places[-1], threads=torch.get_num_threads()), opened)
        same = int((got.argmax(1) == wanted.argmax(1)).sum())
        row = {"form": name, "MB": places[-1].stat().st_size / 1e6, "same class": f"{same} of {len(got)}"}
        rows.append(row | {"largest": f"{abs(got - wanted).max():.1e}", "one ms": one, "batch ms": batched})
    listed = folder / "list.txt"
    listed.write_text("".join(f"{images.paths[number % len(images)]}\n" for number in range(many)))
    for row, place in zip(rows, places, strict=True):
        if many:
            model: Any = ours if place == source else OnnxClassifier(place, threads=torch.get_num_threads())
            names = ("encoder /s", "reading /s", "predict /s")
            row |= dict(zip(names, rates(model, images.paths, many), strict=True))
        row["cold s"], row["cold CPU s"] = process(str(place), images.paths[0])
        if many:
            out = folder / f"{place.stem}.csv"
            row[f"{many} images s"], _ = process(str(place), f"@{listed}", "--out", str(out))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a finished run")
    parser.add_argument("--random", metavar="ARCHITECTURE", help="a student of random weights in its place")
    parser.add_argument("--images", nargs="+", required=True, help="images, or folders of them")
    parser.add_argument("--count", type=int, default=405, help="images that are compared (%(default)s)")
    parser.add_argument("--many", type=int, default=1000, help="images of the last column; 0 for none (%(default)s)")
    parser.add_argument("--json", type=Path, help="also writes the rows there")
    args = parser.parse_args(argv)
    if (args.run is None) == (args.random is None):
        parser.error("give a run, or --random ARCHITECTURE")
    from tabulate import tabulate

    from promptkd.deploy.run_images import of_folders

    with tempfile.TemporaryDirectory() as folder:
        source = args.run or random_student(args.random, Path(folder) / "student")
        rows = rows_of(source, Path(folder), of_folders(args.images).spread(args.count), args.many)
    print(tabulate(rows, headers="keys", floatfmt=".2f", tablefmt="github", disable_numparse=[3]))
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "command": sys.argv}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
