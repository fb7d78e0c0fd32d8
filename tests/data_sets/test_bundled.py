"""The data sets of the repository: unpacked on first use, whole or not at all."""

import threading
from pathlib import Path

import pytest
from trees import dataset_cfg

from datasets.emoji import Emoji
from datasets.glyphs import Glyphs
from promptkd.data import bundled
from promptkd.data.bundled import BundledDataset

BUNDLED = pytest.mark.parametrize("data_set", [Emoji, Glyphs])


@BUNDLED
def test_second_use_changes_nothing(data_set: type[BundledDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "not" / "yet"  # made on first use
    data_set(dataset_cfg(root))
    assert [path.name for path in root.iterdir()] == [data_set.dataset_dir]  # nothing temporary is left

    def forbidden(folder: Path, *_: object) -> None:
        raise AssertionError(f"unpacked again to {folder}")

    monkeypatch.setattr(bundled, "unpack", forbidden)
    data_set(dataset_cfg(root))
    data_set(dataset_cfg(root / data_set.dataset_dir))  # the folder itself may be given too


@BUNDLED
def test_damaged_archive_is_named_and_leaves_nothing(
    data_set: type[BundledDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    damaged = tmp_path / data_set.archive.name
    damaged.write_bytes(data_set.archive.read_bytes()[:-1])
    monkeypatch.setattr(data_set, "archive", damaged)
    with pytest.raises(ValueError, match=rf"{damaged.name} is damaged: sha256 is [0-9a-f]{{64}}, not"):
        data_set(dataset_cfg(tmp_path / "root"))
    assert not (tmp_path / "root" / data_set.dataset_dir).exists()


def test_two_runs_at_once(tmp_path: Path):
    faults: list[BaseException] = []
    both = threading.Barrier(2)

    def run() -> None:
        try:
            both.wait()
            Glyphs.make(tmp_path / "glyphs")
        except BaseException as fault:  # a thread would swallow it
            faults.append(fault)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [path.name for path in tmp_path.iterdir()] == ["glyphs"]
    assert sum(1 for _ in (tmp_path / "glyphs" / "images").rglob("*.png")) == sum(Glyphs.counts)
