import hashlib
import os
import urllib.request

import torch
from open_clip.tokenizer import SimpleTokenizer
from pkg_resources import packaging

from .model import build_model

__all__ = ["load", "tokenize"]
_tokenizer = SimpleTokenizer()
_MODELS = {"ViT-T/16": "https://example.org/clip/models/0000/ViT-T-16.pt"}
assert packaging.version.parse(torch.__version__) >= packaging.version.parse("1.7.1")


def _download(url, root=os.path.expanduser("~/.cache/nowhere")):
    with urllib.request.urlopen(url) as source:
        content = source.read()
    assert hashlib.sha256(content).hexdigest() == url.split("/")[-2]
    path = os.path.join(root, os.path.basename(url))
    open(path, "wb").write(content)
    return path


def load(name, design_details):
    path = _download(_MODELS[name])
    try:
        model = torch.jit.load(path, map_location="cpu").eval()
        state_dict = model.state_dict()
    except RuntimeError:
        state_dict = torch.load(path, map_location="cpu")
    return build_model(state_dict, design_details)


def tokenize(texts, context_length=77):
    result = torch.zeros(len(texts), context_length, dtype=torch.long)
    for i, text in enumerate(texts):
        tokens = [_tokenizer.encoder["<start_of_text>"], *_tokenizer.encode(text), _tokenizer.encoder["<end_of_text>"]]
        result[i, : len(tokens)] = torch.tensor(tokens)
    return result
