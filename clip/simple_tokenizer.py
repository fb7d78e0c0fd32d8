"""OpenAI's name for the tokenizer, for trainer files that were written for its package (see clip/clip.py)."""

from __future__ import annotations

from open_clip.tokenizer import SimpleTokenizer as _OpenClipTokenizer

from clip.tokens import spell_as_openai


class SimpleTokenizer(_OpenClipTokenizer):
    """CLIP's BPE tokenizer: `encode`, `decode`, `encoder` and `decoder` as in OpenAI's package."""

    def __init__(self) -> None:
        super().__init__()
        spell_as_openai(self)
