"""open_clip's names: files come through open_clip and the Hub's cache, and are read by promptkd.tensors alone."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from fuzz import cost
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor

from promptkd.model import open_clip_names, zoo

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}
PREPROCESSING = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "size": [32, 32]}


@pytest.fixture(autouse=True)
def no_file_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a file was given to torch.load")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch.jit, "load", refuse)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of org/model in a Hub's cache, without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub" / "models--org--model", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def model_of(config: dict[str, Any], kind: type = CLIP) -> torch.nn.Module:
    torch.manual_seed(0)
    return kind(**{key: value for key, value in config.items() if key != "custom_text"}).eval()


def write(folder: Path, state: dict[str, Tensor], config: Any = CONFIG, form: str = "bin") -> None:
    content = config if isinstance(config, str) else json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESSING})
    (folder / "open_clip_config.json").write_text(content)
    if form == "bin":
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, folder / "open_clip_model.safetensors")


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("custom", [False, True])
def test_a_model_of_the_hub(hub: Path, form: str, custom: bool) -> None:
    model = model_of(CONFIG, CustomTextCLIP if custom else CLIP)
    wrapped = {f"module.{key}": value for key, value in model.state_dict().items()}
    write(hub, wrapped, CONFIG | ({"custom_text": True} if custom else {}), form)
    loaded = zoo.load_clip("hf-hub:org/model")
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(loaded.encode_image(images), model.encode_image(images), atol=1e-6)
    assert zoo.image_statistics(loaded) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert loaded.tokenizer(["a cat"]).shape == (1, 20)


class Code:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_no_code_of_a_file_of_the_hub_runs(hub: Path, tmp_path: Path) -> None:
    write(hub, {})
    state = model_of(CONFIG).state_dict() | {"x": Code(tmp_path / "ran")}
    torch.save(state, hub / "open_clip_pytorch_model.bin")
    zoo.load_clip("hf-hub:org/model")
    (hub / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    with pytest.raises(ValueError, match=r"open_clip_pytorch_model\.bin is no weight file"):
        zoo.load_clip("hf-hub:org/model")
    assert not (tmp_path / "ran").exists()


def changed(**changes: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        section, _, field = key.partition("__")
        if field:
            config[section][field] = value
        else:
            config[section] = value
    return config


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "nested deeper"),
        (changed(text_cfg__tokenizer_kwargs={"trust_remote_code": True}), "tokenizer_kwargs is with trust_remote_code"),
        (changed(text_cfg__tokenizer_kwargs=[1]), r"tokenizer_kwargs is \[1\]"),
        (changed(text_cfg__tokenizer_kwargs={"clean": 3}), r"tokenizer_kwargs\.clean is 3"),
        (changed(text_cfg__hf_tokenizer_name="/etc"), "hf_tokenizer_name is '/etc'"),
        (changed(text_cfg__hf_model_name="../../x"), r"hf_model_name is '\.\./\.\./x'"),
        (changed(vision_cfg__layers=10**9), r"vision_cfg\.layers is 1000000000"),
        (changed(vision_cfg__layers=200, vision_cfg__width=4096, custom_text=True), "its configuration wants"),
        (changed(vision_cfg__layers=3, custom_text=True), "does not fit its configuration"),
        (changed(vision_cfg__nothing=3), "does not fit its configuration"),
        (changed(vision_cfg=None), "vision_cfg is None"),
    ],
)
def test_configurations_of_the_hub_are_checked(hub: Path, config: Any, fault: str) -> None:
    kind = CustomTextCLIP if isinstance(config, dict) and config.get("custom_text") else CLIP
    write(hub, model_of(CONFIG, kind).state_dict(), config)
    error, seconds, grown = cost(lambda: zoo.load_clip("hf-hub:org/model"))
    with pytest.raises(ValueError, match=fault):
        raise error or AssertionError("accepted")
    assert len(str(error)) < 700 and seconds < 5 and grown < 300e6


@pytest.mark.parametrize("fault", ["not finite", "cut", "missing", "too many"])
@pytest.mark.parametrize("name", ["hf-hub:org/model", "Tiny-B-16:tag", "Tiny-B-16:FILE"])
def test_weights_by_any_name_are_checked(hub: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str) -> None:
    state = model_of(CONFIG).state_dict()
    file = hub / "open_clip_pytorch_model.bin"
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-B-16", CONFIG)
    monkeypatch.setattr(open_clip, "list_models", lambda: ["Tiny-B-16"])
    released = {"hf_hub": "org/model/", "mean": (0.3, 0.3, 0.3)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny-B-16", {"tag": released})
    name = name.replace("FILE", str(file))
    write(hub, state)
    model = zoo.load_clip(name)
    assert torch.equal(model.visual.proj, state["visual.proj"])
    if "tag" in name:
        assert zoo.image_statistics(model)[0] == (0.3, 0.3, 0.3)
    if fault == "not finite":
        state["visual.proj"][0, 0] = float("inf")
    elif fault == "missing":
        del state["visual.proj"]
    elif fault == "too many":
        state["visual.other"] = torch.ones(1)
    torch.save(state, file)
    if fault == "cut":
        file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"open_clip_pytorch_model\.bin") as caught:
        zoo.load_clip(name)
    assert len(str(caught.value)) < 900


def test_what_the_hub_does_not_have(hub: Path) -> None:
    with pytest.raises(OSError, match="cannot load hf-hub:org/other: .*fetch the file elsewhere"):
        zoo.load_clip("hf-hub:org/other")


def test_arrays_of_numpy(tmp_path: Path) -> None:
    read = open_clip_names.read_numpy
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.arange(6.0).reshape(2, 3), b=np.asfortranarray(np.ones((2, 2), "f4")))
    arrays = read(path)
    assert arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and arrays["b"].shape == (2, 2)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"weights\.npz is no archive of arrays"):
        read(path)
    np.savez_compressed(path, a=np.zeros(2**27, "u1"))
    error, _, grown = cost(lambda: read(path))
    assert isinstance(error, ValueError) and "unpacks to" in str(error) and grown < 50e6
    content = bytearray(path.read_bytes())
    np.savez(path, a=np.arange(6.0))
    content = path.read_bytes().replace(b"(6,)", b"(9,)")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.npz"):
        read(path)
