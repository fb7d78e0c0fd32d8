"""Every form in which CLIP weights come, and where they are looked for."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

import clip
from promptkd.model import zoo

# OpenAI's files tell the heads by the width: 64 channels each
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def openai() -> CLIP:
    torch.manual_seed(3)
    return CLIP(**CONFIG, quick_gelu=True).eval()


def state_of(model: CLIP) -> dict[str, torch.Tensor]:
    extra = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    return {**model.state_dict(), **extra}


@torch.no_grad()
def same(model, other) -> bool:
    images, texts = torch.randn(2, 3, 32, 32), clip.tokenize(["a cat", "two dogs"])
    image = torch.allclose(model.encode_image(images), other.encode_image(images), atol=1e-5)
    return image and torch.allclose(model.encode_text(texts), other.encode_text(texts), atol=1e-5)


def test_state_dict_archive_and_wrapped(openai, tmp_path):
    torch.save(state_of(openai), tmp_path / "plain.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state_of(openai).items()}}, tmp_path / "wrapped.pt")
    torch.save({k: v.half() for k, v in state_of(openai).items()}, tmp_path / "half.pt")
    inputs = (torch.ones(1, 3, 32, 32), torch.ones(1, 77, dtype=torch.long))
    traced = torch.jit.trace_module(openai, {"forward": inputs}, check_trace=False)
    traced.save(str(tmp_path / "archive.pt"))
    for name in ("plain", "wrapped", "archive"):
        assert same(zoo.load_clip(str(tmp_path / f"{name}.pt")), openai), name
    half = zoo.load_clip(str(tmp_path / "half.pt"))
    assert half.visual.conv1.weight.dtype == torch.float32


def test_safetensors_with_its_configuration(openai, tmp_path):
    save_file(openai.state_dict(), tmp_path / "m.safetensors")
    assert same(zoo.load_clip(str(tmp_path / "m.safetensors")), openai)  # none beside it: OpenAI's shape and QuickGELU
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    gelu = CLIP(**CONFIG)
    gelu.load_state_dict(openai.state_dict())
    assert same(zoo.load_clip(str(tmp_path / "m.safetensors")), gelu.eval())


def test_architecture_with_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-B-16", CONFIG)
    torch.manual_seed(4)
    model = CLIP(**CONFIG).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setattr(open_clip, "list_models", lambda: ["Tiny-B-16"])
    assert same(zoo.load_clip(f"Tiny-B-16:{tmp_path / 'w.safetensors'}"), model)


def test_image_encoder_alone(openai, tmp_path):
    torch.save(state_of(openai), tmp_path / "plain.pt")
    model = zoo.load_clip(str(tmp_path / "plain.pt"), text=False)
    assert model.transformer is None and model.token_embedding is None
    assert all(name.startswith(("visual.", "logit_scale")) for name, _ in model.named_parameters())


def test_a_file_that_misses_a_tensor(openai, tmp_path):
    state = state_of(openai)
    del state["visual.ln_post.weight"]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(ValueError, match="does not fit its architecture.*visual.ln_post.weight"):
        zoo.load_clip(str(tmp_path / "short.pt"))
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds no CLIP state dict"):
        zoo.load_clip(str(tmp_path / "other.pt"))


@pytest.fixture
def server(openai, tmp_path_factory, monkeypatch):
    """Serves the file that stands for ViT-B/16, under a URL that holds its checksum, as OpenAI's do."""
    folder = tmp_path_factory.mktemp("served")
    torch.save(state_of(openai), folder / "ViT-B-16.pt")
    content = (folder / "ViT-B-16.pt").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http_server.serve_forever, daemon=True).start()
    checksum = hashlib.sha256(content).hexdigest()

    def use(checksum: str) -> None:
        url = f"http://127.0.0.1:{http_server.server_port}/{checksum}/ViT-B-16.pt"
        monkeypatch.setattr(zoo, "get_pretrained_url", lambda *args: url)

    yield use, checksum, content
    http_server.shutdown()


def test_download_is_checked_and_kept(server, openai, tmp_path, monkeypatch):
    use, checksum, content = server
    monkeypatch.setenv("CLIP_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    use("0" * 64)
    with pytest.raises(OSError, match=r"cannot fetch the weights ViT-B-16.pt \(invalid hash.*put it at one of"):
        zoo.load_clip("ViT-B/16")
    assert list(tmp_path.iterdir()) == []
    use(checksum)
    assert same(zoo.load_clip("ViT-B/16"), openai)
    assert (tmp_path / "ViT-B-16.pt").read_bytes() == content
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("fetched what was there"))
    assert same(zoo.load_clip("ViT-B/16"), openai)


def test_offline_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo, "get_pretrained_url", lambda *args: "http://127.0.0.1:9/5806e77c/ViT-B-16.pt")
    with pytest.raises(OSError, match=r"http://127.0.0.1:9/5806e77c/ViT-B-16.pt \(sha256 5806e77c\).*ViT-B-16.pt"):
        zoo.load_clip("ViT-B/16")


def test_names():
    names = clip.available_models()
    assert {"RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"} <= {
        *names
    }


def test_load_returns_model_and_transform(clips):
    from PIL import Image

    model, preprocess = clip.load(clips["student"])
    assert preprocess(Image.new("RGB", (50, 40))).shape == (3, 32, 32)
    assert model.visual.image_size == (32, 32)


def test_tokenize_as_openai():
    assert clip.tokenize("a photo of a cat.").shape == (1, 77)
    assert clip.tokenize("<|endoftext|>")[0, :3].tolist() == [49406, 49407, 49407]
    with pytest.raises(RuntimeError, match="too long for context length 77: it has 102 tokens"):
        clip.tokenize("dog " * 100)
    assert clip.tokenize("dog " * 100, truncate=True)[0, -1] == 49407
