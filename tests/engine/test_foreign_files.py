"""Damaged and hostile files in every place where a run takes one: a line that names file and field, and exit code 1."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from promptkd.deploy import export, predict
from promptkd.engine import checkpoints, command
from promptkd.model import saved
from promptkd.model.class_vectors import ClassVectors
from promptkd.model.zoo import load_clip
from promptkd.results import directory
from promptkd.sweep import command as sweep
from promptkd.teacher.teacher import load_teacher

WORDS = ("TRAINER.COOP.N_CTX", "3", "DATASET.NUM_SHOTS", "2")


@pytest.fixture(scope="module")
def trained(run: Callable[..., float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of CoOp of one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    before = os.umask(0o022)
    try:
        run("CoOp", folder, *WORDS, epochs=1)
    finally:
        os.umask(before)
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(run: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Changes a run's checkpoint, and returns its path."""
    path = run / "prompt_learner" / "model.pth.tar-1"
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)
    return path


def test_files_of_a_run_are_readable_by_all(trained: Path) -> None:
    modes = {path.relative_to(trained): path.stat().st_mode & 0o777 for path in trained.rglob("*") if path.is_file()}
    assert len(modes) > 6 and set(modes.values()) == {0o644}, modes


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.model."])
@pytest.mark.parametrize("place", ["run", "teacher", "weights"])
def test_a_wrappers_prefix_is_left_out(
    prefix: str, place: str, copy: Path, run: Callable[..., float], clips: dict[str, str], tmp_path: Path
) -> None:
    whole = checkpoints.read_checkpoint(copy / "prompt_learner" / "model.pth.tar-1")["state_dict"]

    def wrap(content: dict[str, Any]) -> None:
        content["state_dict"] = {f"{prefix}prompt_learner.{name}": value for name, value in whole.items()}

    path = change(copy, wrap)
    if place == "run":
        assert run("CoOp", tmp_path / "out", "--eval-only", f"--model-dir={copy}", *WORDS) is not None
    elif place == "weights":
        run("CoOp", tmp_path / "out", "MODEL.INIT_WEIGHTS", str(path), *WORDS, epochs=1)
    else:
        for source in (copy, path):
            teacher = load_teacher(str(source), ["a", "b"], backbone=clips["student"], phrase="")
            assert torch.equal(teacher.prompts.ctx, whole["ctx"])


FIELDS: dict[str, Any] = {
    "epoch": ["../../up", 1.5, True, -1, 10**18, None, [1]],
    "belongs_to": [None, "x", {}, {"trainer": 1, "backbone": "x"}, {"trainer": "CoOp", "backbone": ["x"]}],
    "optimizer": [3, [], {"state": {}}, {"state": {}, "param_groups": [{"params": [0]}]}],
    "run": [3, {}, {"seed": "x"}, {"seed": 1, "best_result": float("nan")}],
    "state_dict": [{"ctx": float("nan") * torch.ones(3, 32)}, {"ctx": torch.ones(3, 32, dtype=torch.complex64)},
                   {"ctx": torch.ones(3, 32) > 0}, {"ctx": "x"}, {1: torch.ones(1)}, {"ctx": torch.ones(0, 32)},
                   {"ctx": torch.ones(5, 32)}, {"ctx": torch.tensor(1.0)}],
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_another_kind_in_a_checkpoint(
    field: str, copy: Path, argv: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    data_root: str,
) -> None:  # fmt: skip
    image = next(Path(data_root).rglob("*.jpg"))
    for value in FIELDS[field]:
        change(copy, lambda content, value=value: content.update({field: value}))
        resumed = field in ("optimizer", "run", "epoch")
        evaluated = field == "state_dict" or (field == "epoch" and value is not None) or field == "belongs_to"
        commands = {
            "resume": (command.command_line, argv("CoOp", copy, *WORDS, epochs=1), resumed or field == "state_dict"),
            "evaluate": (
                command.command_line,
                argv("CoOp", tmp_path / "out", "--eval-only", f"--model-dir={copy}", *WORDS),
                evaluated,
            ),
            "predict": (predict.main, [str(copy), str(image)], evaluated),
            "export": (
                export.main,
                [str(copy), str(tmp_path / "published")],
                field == "epoch" or field == "belongs_to",
            ),
        }
        for name, (main, words, refused) in commands.items():
            if not refused:
                continue
            assert main(words) == 1, (name, value)
            line = capsys.readouterr().err.strip()
            assert line.startswith("error: ") and line.count("\n") == 0 and "prompt_learner" in line, (
                name,
                value,
                line,
            )
    assert not (tmp_path / "published").exists() and not (tmp_path / "up").exists()


CONFIGURATIONS = {
    "a list": "[1, 2]", "nothing": "", "text": "hello", "no YAML": "a: [", "bytes": "\x00\x01",
    "no method": "DATASET: {NAME: EuroSAT}", "a section that is a number": "TRAINER: 3\nDATASET: {NAME: x}",
    "a name that is a list": "TRAINER: {NAME: [CoOp]}\nDATASET: {NAME: x}",
    "options that are a text": "TRAINER: {NAME: CoOp, COOP: x}\nDATASET: {NAME: x}",
    "nested": "TRAINER: " + "[" * 300 + "]" * 300, "a date": "TRAINER: {NAME: CoOp, X: 2024-11-26}\nDATASET: {NAME: x}",
    "a CLIP that is a number": "TRAINER: {NAME: CoOp}\nDATASET: {NAME: x}\nMODEL: {BACKBONE: {NAME: 3}}",
    "not finite": "TRAINER: {NAME: CoOp}\nDATASET: {NAME: x}\nOPTIM: {LR: .inf}",
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_damaged_configuration_is_named_everywhere(
    kind: str, copy: Path, argv: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (copy / "config.yaml").write_text(CONFIGURATIONS[kind])
    for main, words in (
        (predict.main, [str(copy), "x.png"]),
        (export.main, [str(copy)]),
        (command.command_line, argv("CoOp", copy, *WORDS)),
        (command.command_line, argv("PromptKD", tmp_path / "kd", "TRAINER.PROMPTKD.TEACHER", str(copy))),
    ):
        assert main(words) == 1
        line = capsys.readouterr().err.strip()
        assert line.startswith("error: ") and "\n" not in line and "config.yaml is broken: " in line, line


INPUTS = {"SIZE": [10**6, 10**6], "PIXEL_STD": [0, 0, 0], "PIXEL_MEAN": ["x"], "INTERPOLATION": 3, "TRANSFORMS": "x"}


@pytest.mark.parametrize("key", INPUTS)
def test_input_of_a_deployed_run(key: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load((copy / "config.yaml").read_text())
    content["INPUT"][key] = INPUTS[key]
    (copy / "config.yaml").write_text(yaml.safe_dump(content))
    assert predict.main([str(copy), "x.png"]) == 1
    assert f"INPUT.{key}" in capsys.readouterr().err or key == "TRANSFORMS"


def vectors(**changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    features = torch.nn.functional.normalize(torch.randn(2, 4), dim=-1)
    tensors = {"features": features, "logit_scale": torch.tensor(100.0)}
    header = {"classnames": json.dumps(["a", "b"]), "source": "{}", "format": "1"}
    for key, value in changes.items():
        (header if isinstance(value, str) else tensors)[key] = value
    return tensors, header


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"features": torch.full((2, 4), float("nan"))}, "not finite"),
        ({"features": torch.zeros(2, 4)}, "is zero"),
        ({"features": torch.ones(2, 4, dtype=torch.int64)}, "holds int64"),
        ({"features": torch.ones(3, 4)}, "for 2 classes"),
        ({"features": torch.ones(8)}, "for 2 classes"),
        ({"logit_scale": torch.tensor(float("inf"))}, "not finite"),
        ({"logit_scale": torch.tensor(-1.0)}, "one number above 0"),
        ({"logit_scale": torch.ones(3)}, "one number above 0"),
        ({"classnames": '["a", "a"]'}, "'a' comes twice"),
        ({"classnames": '["a", 1]'}, r"classnames\[1\] is 1"),
        ({"classnames": "{"}, "not JSON"),
        ({"classnames": '"ab"'}, "list of texts"),
        ({"source": "[1]"}, "source is no mapping"),
        ({"source": '{"made_by": 3}'}, "source is no mapping"),
    ],
)
def test_class_vectors_that_mean_nothing(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    tensors, header = vectors(**changes)
    save_file(tensors, tmp_path / "v.safetensors", metadata=header)
    with pytest.raises(ValueError, match=rf"v\.safetensors holds no class vectors that can be used \(.*{reason}"):
        ClassVectors.load(tmp_path / "v.safetensors")


CLIPS: list[tuple[str, Any]] = [
    ("vision_cfg.layers", 10**9), ("vision_cfg.width", -3), ("vision_cfg.image_size", [10**6, 10**6]),
    ("vision_cfg.patch_size", "16"), ("text_cfg.context_length", 10**6), ("text_cfg.vocab_size", 10**12),
    ("text_cfg.heads", 0), ("embed_dim", 1.5), ("embed_dim", None), ("vision_cfg", 3), ("text_cfg", None),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CLIPS)
def test_sizes_of_a_clip_are_bounded(key: str, value: Any, clips: dict[str, str], tmp_path: Path) -> None:
    path = Path(shutil.copy(clips["student"], tmp_path / "c.safetensors"))
    content = json.loads(Path(clips["student"]).with_suffix(".json").read_text())
    *sections, last = key.split(".")
    section = content["model_cfg"]
    for name in sections:
        section = section[name]
    section[last] = value
    path.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"c\.(json|safetensors)"):
        load_clip(str(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float, clips: dict[str, str], tmp_path: Path) -> None:
    state = load_file(clips["student"])
    state["visual.proj"][0, 0] = value
    save_file(state, tmp_path / "c.safetensors")
    shutil.copy(Path(clips["student"]).with_suffix(".json"), tmp_path / "c.json")
    with pytest.raises(ValueError, match=r"c\.safetensors: visual\.proj has numbers that are not finite"):
        load_clip(str(tmp_path / "c.safetensors"))


def test_a_spec_that_its_tensors_do_not_have(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "prompt_learner" / saved.SPEC_FILE
    content = json.loads(path.read_text())
    for key, value in (("n_classes", 100_000), ("n_vision", 50_000), ("projector_layers", 2), ("n_text", 40)):
        spec = content["spec"] | {key: value} | ({"depth_vision": 1} if key == "n_vision" else {})
        path.write_text(json.dumps(content | {"spec": spec}))
        assert predict.main([str(copy), "x.png"]) == 1
        assert f"{key} of its spec is {value}" in capsys.readouterr().err


def test_grids_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {f"OPTIM.{name}": list(range(1, 100)) for name in ("LR", "MOMENTUM", "WEIGHT_DECAY", "GAMMA", "STEPSIZE")}
    plan = {"trainers": ["CoOp"], "datasets": ["eurosat"], "grid": grid}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert sweep.main([str(tmp_path / "plan.yaml"), "--dry-run"]) == 1
    assert "more than 20,000 runs" in capsys.readouterr().err


def test_a_healthy_configuration_is_read(trained: Path) -> None:
    cfg = directory.read_configuration(trained)
    assert cfg is not None and cfg.TRAINER.NAME == "CoOp"
