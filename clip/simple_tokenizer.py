"""The tokenizer under OpenAI's name, for trainer files that were written for its package (see clip/clip.py)."""

from __future__ import annotations

from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer as _OpenClipTokenizer
from open_clip.tokenizer import default_bpe

from promptkd.model.tokens import spell_as_openai

__all__ = ["SimpleTokenizer", "default_bpe"]


class SimpleTokenizer(_OpenClipTokenizer):
    """CLIP's BPE tokenizer: `encode`, `decode`, `encoder` and `decoder` as in OpenAI's package.

    Args:
        bpe_path: file of the vocabulary; None for OpenAI's, which open_clip brings.
    """

    def __init__(self, bpe_path: str | Path | None = None) -> None:
        usual = Path(default_bpe())
        path = Path(bpe_path or usual)
        # Trainer files give the path of OpenAI's package, clip/bpe_simple_vocab_16e6.txt.gz: it means the usual one.
        super().__init__(str(usual if path.name == usual.name and not path.is_file() else path))
        spell_as_openai(self)
