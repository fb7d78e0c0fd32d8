"""Every format that is read from elsewhere: a file that is read well, its reader, and how it is changed at random."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from fuzz import changed_archive, changed_bytes, changed_safetensors, changed_value, json_of, yaml_of
from open_clip.model import CLIP
from safetensors.torch import save_file
from tensor_files import openai_archive
from torch import nn

from dassl.utils import load_checkpoint as load_dassl_checkpoint
from promptkd.data.class_lists import read_class_list
from promptkd.data.class_texts import read_class_texts
from promptkd.data.concepts import read_concepts
from promptkd.data.file_lists import read_files
from promptkd.data.splits import read_split
from promptkd.deploy.preprocessing import transform_of_run
from promptkd.engine import checkpoints, config
from promptkd.home import ROOT
from promptkd.model import saved
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.clip_config import read_config
from promptkd.model.spec import PromptSpec
from promptkd.model.zoo import load_clip
from promptkd.results.directory import read_configuration
from promptkd.results.record import RunRecord
from promptkd.results.settings import fingerprint
from promptkd.sweep import expand
from promptkd.sweep.plan import read_plan
from promptkd.tensors.numpy_files import read_numpy

MUTATIONS = 210
COST = 5.0, 300e6  # seconds and bytes that a file may take at most
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 40, "width": 32, "heads": 2, "layers": 1},
}
Change = Callable[[bytes, random.Random], bytes]


class Format(NamedTuple):
    """A file that is read well, how it is read, and how it is changed."""

    name: str
    content: bytes
    read: Callable[[Path], Any]
    change: Change


def structured(load: Callable[[bytes], Any], dump: Callable[[Any], bytes]) -> Change:
    def change(data: bytes, rng: random.Random) -> bytes:
        return dump(changed_value(load(data), rng)) if rng.random() < 0.6 else changed_bytes(data, rng)

    return change


IN_JSON, IN_YAML = structured(json.loads, json_of), structured(yaml.safe_load, yaml_of)


def clip_file(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in CLIP(**CONFIG).state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"model_cfg": CONFIG}))
    return path


def weights(folder: Path) -> Format:
    return Format(
        "weights.safetensors", clip_file(folder).read_bytes(), lambda p: load_clip(str(p)), changed_safetensors
    )


def clip_json(folder: Path) -> Format:
    weights = clip_file(folder)
    preprocessing = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "size": [32, 32]}
    content = json_of({"model_cfg": CONFIG, "preprocess_cfg": preprocessing})
    return Format("weights.json", content, lambda path: load_clip(str(weights)), IN_JSON)


def script(folder: Path) -> Format:
    archive = openai_archive(folder / "weights.pt")
    return Format("weights.pt", archive.read_bytes(), lambda path: load_clip(str(path)), changed_archive)


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ctx = nn.Parameter(torch.randn(4, 16))
        self.projector = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def _checkpoint(folder: Path, zipped: bool, change: Change) -> Format:
    model = Learned()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    (model.ctx.sum() + model.projector(torch.randn(2, 3)).sum()).backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    content = {
        "state_dict": model.state_dict(),
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule,
        "belongs_to": {"trainer": "CoOp", "backbone": "ViT-B/16", "text": "a photo", "classnames": ["a", "b"]},
        "run": {"seed": 1, "best_result": 2.0, "spent": {}},
    }
    path = folder / "model.pth.tar-3"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)

    def read(path: Path) -> None:
        content = checkpoints.read_checkpoint(path)
        checkpoints.load_learned(Learned(), content["state_dict"], path)

    return Format(path.name, path.read_bytes(), read, change)


def checkpoint(folder: Path) -> Format:
    return _checkpoint(folder, True, changed_archive)


def legacy(folder: Path) -> Format:
    return _checkpoint(folder, False, changed_bytes)


def class_vectors(folder: Path) -> Format:
    features = nn.functional.normalize(torch.randn(5, 8), dim=-1)
    path = folder / "class_vectors.safetensors"
    ClassVectors(tuple("abcde"), features, 100.0, {"made_by": "CoOp"}).save(path)
    return Format(path.name, path.read_bytes(), ClassVectors.load, changed_safetensors)


def prompts(folder: Path) -> Format:
    clip = load_clip(str(clip_file(folder)))
    spec = PromptSpec(n_vision=2, depth_vision=1, projector_layers=2, projector_dim=8)
    content = {"format": 1, "backbone": "x", "trainer": "PromptKD", "templates": ["a {}."], "spec": spec.to_dict()}
    tensors = spec.build(clip).state_dict()

    def read(path: Path) -> None:
        found = saved.read_spec(path.parent)
        assert found is not None
        try:
            found.spec.check(tensors)
            found.spec.build(clip)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    return Format("prompts.json", json_of(content), read, IN_JSON)


def record(folder: Path) -> Format:
    metrics = {"base": {"accuracy": 50.0, "per_class": {"a": 50.0}}, "new": {"accuracy": 50.0}, "hm": 50.0}
    content = {
        "format": 1, "trainer": "CoOp", "backbone": "x", "teacher": None, "dataset": "EuroSAT", "protocol": "base2new",
        "transductive": False, "shots": 16, "seed": 1, "selection": "last epoch", "eval_only": False,
        "metrics": metrics, "config_hash": "0" * 16, "finished": "now", "train_seconds": 1.5,
    }  # fmt: skip

    def read(path: Path) -> None:
        try:
            RunRecord.read(path)
        except ValueError as error:
            raise ValueError(f"{path} is {error}") from error  # as every caller says it

    return Format("results.json", json_of(content), read, IN_JSON)


def configuration(folder: Path) -> Format:
    content = {
        "TRAINER": {"NAME": "CoOp", "COOP": {"N_CTX": 4}}, "DATASET": {"NAME": "EuroSAT", "NUM_SHOTS": 16}, "SEED": 1,
        "MODEL": {"BACKBONE": {"NAME": "ViT-B/16"}}, "LOAD_EPOCH": -1, "OPTIM": {"LR": 0.002, "NAME": "sgd"},
        "INPUT": {"SIZE": [224, 224], "INTERPOLATION": "bicubic", "PIXEL_MEAN": [0.5, 0.5, 0.5],
                  "PIXEL_STD": [0.2, 0.2, 0.2], "TRANSFORMS": ["random_flip", "normalize"]},
    }  # fmt: skip

    def read(path: Path) -> None:
        cfg = read_configuration(path.parent)
        assert cfg is not None
        fingerprint(cfg)
        try:
            transform_of_run(cfg)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    return Format("config.yaml", yaml_of(content), read, IN_YAML)


def recipe(folder: Path) -> Format:
    content = (ROOT / "configs/trainers/CoOp/mini.yaml").read_bytes()
    from promptkd import guests
    from promptkd.data.benchmark import DATASET_DEFAULTS

    guests.register()
    return Format(
        "recipe.yaml", content, lambda path: config.merge_file(config.default_config(DATASET_DEFAULTS), path), IN_YAML
    )


def class_list(folder: Path) -> Format:
    names = "\n".join(["0 apple", "1 pear", "2 “blue” plum", "3 fig"])
    return Format("classes.txt", names.encode(), read_class_list, changed_bytes)


def class_list_in_json(folder: Path) -> Format:
    return Format("classes.json", json_of({"names": {"0": "apple", "1": "pear", "2": "fig"}}), read_class_list, IN_JSON)


def class_list_in_yaml(folder: Path) -> Format:
    return Format("data.yaml", yaml_of({"nc": 3, "names": ["apple", "pear", "fig"]}), read_class_list, IN_YAML)


def file_list(folder: Path) -> Format:
    rows = "".join(f"a/{number}.png,{'ab'[number % 2]},train\n" for number in range(9))
    content = f"path,class,split\n{rows}".encode()
    return Format("files.csv", content, lambda path: read_files(path, path.parent), changed_bytes)


def split(folder: Path) -> Format:
    items = [[f"a/{number}.png", number % 2, "ab"[number % 2]] for number in range(6)]
    return Format("split.json", json_of({"train": items, "val": items[:2], "test": items}), read_split, IN_JSON)


def plan(folder: Path) -> Format:
    content = {
        "trainers": ["CoOp", "PromptKD"], "datasets": ["eurosat", "dtd"], "protocols": ["base2new"], "seeds": [1, 2],
        "set": {"OPTIM.MAX_EPOCH": 2}, "grid": {"OPTIM.LR": [0.1, 0.2], "TRAINER.PROMPTKD.KD_WEIGHT": [1, 2]},
    }  # fmt: skip

    def read(path: Path) -> None:
        try:
            expand.check_number(read_plan(str(path), {}))
        except ValueError as error:  # the command prints it; a plan is the only file that it is given
            raise ValueError(f"{path}: {error}") from error

    return Format("plan.yaml", yaml_of(content), read, IN_YAML)


def concepts(folder: Path) -> Format:
    content = "# of a language model\nharp\nzinc ore\nacoustic guitar\nbell tower\n"
    return Format("concepts.txt", content.encode(), read_concepts, changed_bytes)


def class_texts(folder: Path) -> Format:
    content = {name: [f"{name} from above.", f"what {name} looks like"] for name in ("forest", "river", "highway")}
    return Format("texts.json", json_of(content), lambda path: read_class_texts(path, ["Forest", "river"]), IN_JSON)


def open_clip_config(folder: Path) -> Format:
    tower = CONFIG["text_cfg"] | {"hf_tokenizer_name": "org/name", "tokenizer_kwargs": {"clean": "whitespace"}}
    content = {"model_cfg": CONFIG | {"text_cfg": tower}, "preprocess_cfg": {"mean": [0.5] * 3, "size": 32}}
    return Format("open_clip_config.json", json_of(content), read_config, IN_JSON)


def arrays(folder: Path) -> Format:
    np.savez(folder / "weights.npz", **{f"a/{number}": np.arange(12.0).reshape(3, 4) for number in range(6)})
    return Format("weights.npz", (folder / "weights.npz").read_bytes(), read_numpy, changed_archive)


def dassl_checkpoint(folder: Path) -> Format:
    """As a trainer written for upstream loads it, through Dassl."""
    model = Learned()
    content = {"state_dict": model.state_dict(), "epoch": 3, "optimizer": None, "scheduler": {"last_epoch": 3}}
    torch.save(content | {"val_result": 50.0}, folder / "model-best.pth.tar")

    def read(path: Path) -> None:
        checkpoints.let_dassl_read_safely()
        load_dassl_checkpoint(str(path))

    return Format("model-best.pth.tar", (folder / "model-best.pth.tar").read_bytes(), read, changed_archive)


FORMATS = [weights, clip_json, script, checkpoint, legacy, class_vectors, prompts, record, configuration, recipe,
           class_list, class_list_in_json, class_list_in_yaml, file_list, split, plan, concepts, class_texts,
           open_clip_config, arrays, dassl_checkpoint]  # fmt: skip


def judged(format: Format, error: Exception | None, seconds: float, grown: int) -> str:
    """What is wrong with how a changed file ended; "" for nothing."""
    if seconds > COST[0] or grown > COST[1]:
        return f"{seconds:.1f} s, {grown / 1e6:.0f} MB"
    if error is None:
        return ""
    text = str(error)
    if not isinstance(error, (ValueError, OSError)):
        return f"traceback: {type(error).__name__}"
    if format.name.rpartition(".")[0] not in text or len(text) > 2000:
        return "the file is not named, or the line has no end"
    return "control characters" if "\x1b" in text or "\u202e" in text else ""
