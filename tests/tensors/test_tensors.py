"""Tensor files of every form are read without their code, and claims beyond what they hold cost nothing."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from fuzz import cost
from safetensors.torch import save_file
from tensor_files import openai_archive
from torch import Tensor, nn

from clip import clip as openai
from promptkd import tensors
from promptkd.model.zoo import load_clip


def test_openais_archive_gives_what_torch_gives(tmp_path: Path) -> None:
    path = openai_archive(tmp_path / "ViT-B-16.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = torch.jit.load(path, map_location="cpu").state_dict()
    given = tensors.read_weights(path)
    assert list(given) == list(wanted) and {"visual.conv1.weight", "input_resolution"} < given.keys()
    assert all(torch.equal(given[name], value) and given[name].dtype == value.dtype for name, value in wanted.items())
    assert given["visual.proj"].dtype == torch.float16 and "constant" not in given
    assert load_clip(str(path)).visual.conv1.weight.dtype == torch.float32


class Hostile(nn.Module):
    """TorchScript that writes a file as soon as it is loaded."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.weight, self.target = torch.ones(2), target

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, str, bool]:
        return self.weight, self.target, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, str, bool]) -> None:
        self.weight, self.target, self.training = state[0], state[1], state[2]
        torch.save(state[0], state[1])


def test_code_of_a_script_does_not_run(tmp_path: Path) -> None:
    target, path = tmp_path / "written", tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Hostile(str(target))).save(str(path))
        target.unlink(missing_ok=True)
        torch.jit.load(path)
        assert target.exists(), "the file would run code"
    target.unlink()
    for read in (load_clip, openai._download):
        with pytest.raises(ValueError, match=r"model\.pt"):
            read(str(path))
    assert not target.exists()


def test_an_archive_is_handed_on_without_its_code(tmp_path: Path) -> None:
    handed = openai._download(str(openai_archive(tmp_path / "model.pt")))
    assert "visual.conv1.weight" in torch.load(handed, weights_only=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_kind(tmp_path: Path, zipped: bool) -> None:
    flat = torch.arange(12.0)
    state = {
        "half": torch.randn(3, 4).half(), "parameter": nn.Parameter(torch.ones(2)), "part": flat[2:5],
        "turned": flat.view(3, 4).t(), "number": torch.tensor(1.5), "none": torch.empty(0), "bool": torch.ones(2) > 0,
        "bfloat": torch.randn(2).bfloat16(), "long": torch.arange(3), "complex": torch.ones(2, dtype=torch.complex64),
    }  # fmt: skip
    torch.save({"state": state, "size": torch.Size([1, 2])}, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    content = tensors.read_content(tmp_path / "x")
    assert content["size"] == (1, 2)
    assert all(torch.equal(content["state"][name], value) for name, value in state.items())


def archive(path: Path, data: bytes, storages: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", data)
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)
    return path


class _Claims(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None


def tensor(numel: int, size: tuple[int, ...], stride: tuple[int, ...], key: str = "0") -> bytes:
    """A pickle of a tensor of these claims."""

    class Made:
        def __reduce__(self) -> tuple[object, ...]:
            storage = ("storage", torch.FloatStorage, key, "cpu", numel)
            return torch._utils._rebuild_tensor_v2, (storage, 0, size, stride, False, None)

    stream = io.BytesIO()
    _Claims(stream, 2).dump({"state_dict": {"ctx": Made()}})
    return stream.getvalue()


HUGE = {
    "a storage": (tensor(2**40, (2**40,), (1,)), {"0": b"\0" * 8}),
    "a stride of 0": (tensor(2, (2**30, 8), (0, 1)), {"0": b"\0" * 8}),
    "beyond its storage": (tensor(2, (3,), (1,)), {"0": b"\0" * 8}),
    "no storage": (tensor(2, (2,), (1,)), {}),
    "memo": (b"\x80\x02]r\xff\xff\xff\x7f.", {}),
    "text": (b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.", {}),
    "bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.", {}),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.", {}),
    "nested": (b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", {}),
    # ten times a tuple of ten of the one before: 10**40 values once written out
    "shared": (b"\x80\x02N" + b"".join(b"q%c" % i + b"(" + b"h%c" % i * 10 + b"t" for i in range(40)) + b".", {}),
}


@pytest.mark.parametrize("kind", HUGE)
def test_claims_of_a_pickle_cost_nothing(kind: str, tmp_path: Path) -> None:
    data, storages = HUGE[kind]
    path = archive(tmp_path / "huge.pt", data, storages)
    error, seconds, grown = cost(lambda: tensors.read_content(path))
    assert isinstance(error, ValueError) and "huge.pt is no weight file" in str(error) and len(str(error)) < 600
    assert seconds < 3 and grown < 100e6


def test_what_is_packed_tight_is_not_unpacked(tmp_path: Path) -> None:
    numbers = {"0": b"\0" * (4 << 26)}
    path = archive(tmp_path / "tight.pt", tensor(1 << 26, (1 << 26,), (1,)), numbers, zipfile.ZIP_DEFLATED)
    error, _, grown = cost(lambda: tensors.read_content(path))
    assert "that unpacks to" in str(error) and grown < 100e6
    small = archive(tmp_path / "small.pt", tensor(2, (2,), (1,)), {"0": struct.pack("<2f", 1, 2)}, zipfile.ZIP_DEFLATED)
    assert tensors.read_content(small)["state_dict"]["ctx"].tolist() == [1, 2]  # a checkpoint that was packed again


HEADERS = {
    "beyond the file": {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    "another size": {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
    "no type": {"x": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}},
    "a negative size": {"x": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
    "no entry": {"x": 3},
    "metadata": {"__metadata__": {"a": 1}, "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_of_safetensors(kind: str, tmp_path: Path) -> None:
    header = json.dumps(HEADERS[kind]).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(ValueError, match=r"odd\.safetensors"):
        tensors.read_safetensors(path)
    path.write_bytes(struct.pack("<Q", 2**60) + header)
    with pytest.raises(ValueError, match="a header of"):
        tensors.read_safetensors(path)


def test_prefixes_of_wrappers() -> None:
    known = ("ctx", "vision_prompts.")
    strip = tensors.without_wrapper
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "model.", "model.module.", ""):
        assert list(strip({f"{prefix}ctx": 1, f"{prefix}vision_prompts.0": 2}, known)) == ["ctx", "vision_prompts.0"]
    assert list(strip({"vision_prompts.0": 1, "vision_prompts.1": 1}, known)) == [
        "vision_prompts.0",
        "vision_prompts.1",
    ]
    assert list(strip({"adapter.a.b": 1, "adapter.a.c": 1}, known)) == ["adapter.a.b", "adapter.a.c"]
    assert list(strip({"module.ctx": 1, "ctx": 2}, known)) == ["module.ctx", "ctx"]  # which would be the right one?
    for whole in ("student.ctx", "clip.clip_model.ctx", "_orig_mod.module.ctx"):
        assert list(strip({whole: 1}, known)) == ["ctx"]


def test_prefixes_of_wrapped_parts() -> None:
    for part in ("text_encoder.module.ln", "visual._orig_mod.conv1.weight", "module.visual._orig_mod.ln", "module.ln"):
        wanted = ".".join(word for word in part.split(".") if word not in tensors.WRAPPERS)
        assert list(tensors.without_wrapper({part: 1, "logit_scale": 2, "n_averaged": 3})) == [wanted, "logit_scale"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "trainer.model."])
def test_weights_of_a_wrapped_clip(prefix: str, clips: dict[str, str], tmp_path: Path) -> None:
    state = tensors.read_safetensors(clips["student"])[0]
    path = tmp_path / "wrapped.safetensors"
    save_file({f"{prefix}{name}": value for name, value in state.items()}, path)
    path.with_suffix(".json").write_bytes(Path(clips["student"]).with_suffix(".json").read_bytes())
    assert torch.equal(load_clip(str(path)).visual.conv1.weight, state["visual.conv1.weight"])
