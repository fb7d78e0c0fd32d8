"""A run is known by what its teacher holds, where the folder of both has moved."""

from __future__ import annotations

import shutil

import made_up
import pytest
from test_record import config

from promptkd.results import origins
from promptkd.results.directory import check_directory, moved_from, take_directory
from promptkd.results.record import RunRecord, check_result
from promptkd.results.settings import fingerprint


def student(teacher: object):
    cfg = config()
    cfg.TRAINER.NAME = "PromptKD"
    cfg.TRAINER.PROMPTKD = type(cfg)({"TEACHER": str(teacher), "KD_WEIGHT": 1.0})
    return cfg


@pytest.fixture
def sweep(tmp_path):
    """A folder with a teacher's run and a student's, of which the student has begun."""
    learned = tmp_path / "old" / "teacher" / "VLPromptLearner"
    learned.mkdir(parents=True)
    (learned / "model.pth.tar-9").write_bytes(b"earlier")
    (learned / "model.pth.tar-10").write_bytes(b"tensors")
    (learned / "prompts.json").write_text("{}")
    take_directory(tmp_path / "old" / "student", student(learned.parent))
    return tmp_path


def test_a_moved_folder_is_known(sweep):
    old, new = student(sweep / "old" / "teacher"), student(sweep / "new" / "teacher")
    content = made_up.result("PromptKD", config_hash=fingerprint(old))
    RunRecord.from_dict(content).write(sweep / "old" / "student")
    shutil.move(sweep / "old", sweep / "new")
    directory = sweep / "new" / "student"
    assert moved_from(directory, new) == fingerprint(old) != fingerprint(new)
    check_directory(directory, new)
    take_directory(directory, new)
    assert origins.earlier_hashes(directory) == (fingerprint(old),) and moved_from(directory, new) == ""
    assert check_result(directory, fingerprint(new)) is not None, "its result is of the same run"
    shutil.move(sweep / "new", sweep / "newer")
    take_directory(sweep / "newer" / "student", student(sweep / "newer" / "teacher"))
    assert origins.earlier_hashes(sweep / "newer" / "student") == (fingerprint(old), fingerprint(new))


def test_another_teacher_is_another_run(sweep):
    other = sweep / "other" / "VLPromptLearner"
    other.mkdir(parents=True)
    (other / "model.pth.tar-10").write_bytes(b"other tensors")
    for gone in (False, True):
        with pytest.raises(ValueError, match="holds another run .TRAINER.PROMPTKD.TEACHER is .*other"):
            check_directory(sweep / "old" / "student", student(other.parent))
        with pytest.raises(ValueError, match="holds another run .TRAINER.PROMPTKD.TEACHER"):
            check_directory(sweep / "old" / "student", student("ViT-B/16"))
        if not gone:
            shutil.rmtree(sweep / "old" / "teacher")


def test_a_run_of_an_earlier_version_is_known_where_both_teachers_are_there(sweep):
    shutil.copytree(sweep / "old" / "teacher", sweep / "copy")
    (sweep / "old" / "student" / "origins.json").unlink()
    check_directory(sweep / "old" / "student", student(sweep / "copy"))
    (sweep / "old" / "student" / "origins.json").write_text("[" * 100_000)
    check_directory(sweep / "old" / "student", student(sweep / "copy"))


def test_several_teachers_are_known_by_their_contents_and_names(tmp_path):
    (tmp_path / "moved").mkdir()
    for name, content in (("a", b"1"), ("b", b"2"), ("moved/a", b"1")):
        (tmp_path / f"{name}.pth.tar").write_bytes(content)
    a, b, moved = (str(tmp_path / f"{name}.pth.tar") for name in ("a", "b", "moved/a"))
    assert origins.content_hash([a, b]) == origins.content_hash([moved, b]) != origins.content_hash([b, a])
    assert origins.content_hash([a, "ViT-L/14"]) != origins.content_hash([a, "ViT-B/16"])
    assert origins.content_hash(["ViT-L/14", "ViT-B/16"]) == ""
    key = "TRAINER.PROMPTKD.TEACHERS"
    assert origins.is_origin(key) and origins.same_content(tmp_path, key, [a, b], [moved, b])
    assert not origins.same_content(tmp_path, key, [a, b], [a]) and not origins.same_content(tmp_path, key, [a], [a, 1])


def test_what_no_path_leads_to_has_no_content(tmp_path):
    assert origins.content_hash("ViT-L/14") == origins.content_hash(tmp_path / "nothing") == ""
    (tmp_path / "teacher.pth.tar").write_bytes(b"1")
    assert len(origins.content_hash(tmp_path / "teacher.pth.tar")) == 64
