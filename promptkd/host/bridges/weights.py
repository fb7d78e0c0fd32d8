"""Weights of CLIP, which a repository's `_download` would fetch."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from promptkd.host.bridges import Crossing
from promptkd.host.imports import after_import


def stored_weights(crossing: Crossing) -> None:
    """`_download` of a clip/ is served from our store: the files of `promptkd.model.zoo.weight_directories`."""

    def serve(module: ModuleType) -> None:
        if not (isinstance(getattr(module, "_MODELS", None), dict) and callable(getattr(module, "_download", None))):
            return

        def download(url: str, root: str = "", *_: object, **__: object) -> str:
            from promptkd.model import zoo

            if root and (Path(root).expanduser() / url.rpartition("/")[2]).is_file():
                return str(Path(root).expanduser() / url.rpartition("/")[2])
            path = zoo.fetch(url)
            crossing.note("stored_weights", f"{path.name} of {path.absolute().parent}")
            return str(path)

        module._download = download  # type: ignore[attr-defined]

    after_import(serve)
