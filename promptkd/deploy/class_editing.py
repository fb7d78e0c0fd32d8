"""Classes that a finished student is given afterwards, loses, or has under another name; nothing is trained.

What a student learned brings images into its teacher's space of class vectors (PromptKD, arXiv 2403.02781, section
3.3), so a class that it never heard of is one more row: the name as the teacher's text encoder encodes it, with its
learned context. The edited rows are a file of their own beside the run's, see `promptkd.model.class_edits`; whatever
classifies with the run takes them, evaluations and tables keep the run's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptkd.bounded import named, shown
from promptkd.deploy.export_folder import is_export
from promptkd.texts import clipped, closest

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    from torch import Tensor

    from promptkd.model.class_vectors import ClassVectors
    from promptkd.model.prompted_clip import PromptedClip

SAME = 0.999  # cosine from which two encodings by the same weights are one, in whatever arithmetic; ours
EXACT = 1 - 1e-5  # the same, where the weights' hashes differ or nobody has noted them
PROBES = 8  # names that a teacher encodes anew, to be compared with what the run has of it


def read_classes(directory: str | Path) -> ClassVectors:
    """The class vectors that a run, or a saved model, classifies with: the edited ones where there are any.

    Raises:
        FileNotFoundError: it has none.
        ValueError: the file is damaged.
    """
    from promptkd.model.class_edits import vectors_in_use

    return vectors_in_use(_checked(directory))


def origins_of(vectors: ClassVectors) -> dict[str, str]:
    """Class name -> where its row comes from: "trained", "added", or "renamed from ..."."""
    from promptkd.model.class_edits import Edits

    edits = Edits.of(vectors)
    return {name: edits.origin(name) for name in vectors.classnames}


def edited(
    directory: str | Path,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    *,
    teacher: str = "",
    vectors: str | Path = "",
) -> ClassVectors:
    """The class vectors of a run after some changes: renamed first, then removed, then added; nothing is written.

    Args:
        directory: a finished run, or a model that `promptkd.model.saved.save` has left.
        add: names that the teacher's text encoder encodes; they come last.
        remove: names that go.
        rename: name -> the name that its row gets. The row stays as it is; to have the new name encoded, remove the one
            and add the other.
        teacher: its place where that is not the one that the run has noted: a run's directory, a .pth.tar, a CLIP's
            name.
        vectors: a file of class vectors by the same teacher, from which added rows are taken; it needs no teacher.

    Raises:
        FileNotFoundError: the directory has no class vectors; no such file.
        ValueError: a class that is there already, or that is not there; a teacher that is not found, is another one, or
            encodes no names. The message says what to do.
    """
    import torch

    from promptkd.model.class_edits import Edits
    from promptkd.model.class_vectors import FILE_NAME, ClassVectors

    present, rename = read_classes(directory), dict(rename or {})
    edits = Edits.of(present)
    check_changes(present.classnames, add, remove, rename)
    for before, after in rename.items():
        edits = edits.rename(before, after)
    changed = replace(present, classnames=tuple(rename.get(name, name) for name in present.classnames))
    for name in remove:
        edits = edits.remove(name)
    if remove:
        changed = changed.select([name for name in changed.classnames if name not in set(remove)])
    if add:
        trained = ClassVectors.load(Path(directory) / FILE_NAME)
        rows = _of_file(Path(vectors), trained, add) if vectors else _of_teacher(directory, trained, add, teacher)
        features = torch.cat([changed.features, rows.to(changed.features)])
        changed = replace(changed, classnames=(*changed.classnames, *add), features=features)
        for name in add:
            edits = edits.add(name)
    return edits.written_to(changed)


def keep(directory: str | Path, vectors: ClassVectors) -> Path:
    """Writes what `edited` gave beside the run's class vectors, which stay as they are; returns the file.

    Raises:
        OSError: it cannot be written.
    """
    from promptkd.model.class_edits import EDITED_NAME

    path = _checked(directory) / EDITED_NAME
    vectors.save(path)
    return path


def restore(directory: str | Path) -> bool:
    """Takes the edited file away, so that a run has the classes that it was trained with; whether there was one."""
    from promptkd.model.class_edits import EDITED_NAME

    path = _checked(directory) / EDITED_NAME
    present = path.is_file()
    path.unlink(missing_ok=True)
    return present


def check_changes(
    present: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = (), rename: Mapping[str, str] | None = None
) -> None:
    """Compares changes with the names that are there, before any model is loaded.

    Raises:
        ValueError: see `edited`.
    """
    from promptkd.data.checks import check_utf8, clip_name

    rename = dict(rename or {})
    for kind, asked in (("rename", list(rename)), ("remove", list(remove))):
        known = list(present) if kind == "rename" else [rename.get(name, name) for name in present]
        for name in asked:
            if name not in known:
                close = closest(name, known)
                hint = f"closest: {close!r}" if close else f"it has {len(known)}, first {shown(known[0])}"
                raise ValueError(f"no class {shown(name)} to {kind}; {hint}")
    left = [rename.get(name, name) for name in present]
    left = [name for name in left if name not in set(remove)] + list(add)
    check_utf8("classes", [*add, *rename.values()])
    seen: dict[str, str] = {}
    for name in left:
        if not name.strip():
            raise ValueError("a class without a name: give it a word")
        if (first := seen.setdefault(clip_name(name), name)) is not name or left.count(name) > 1:
            raise ValueError(
                f"the class {shown(name)} is there already"
                + (f", as {shown(first)}" if first != name else "")
                + ": CLIP reads both as one name; leave it out, or --remove it first"
            )
    if len(left) < 2:
        raise ValueError(f"{len(left)} class is left: a classifier needs two at least")


def _checked(directory: str | Path) -> Path:
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"{named(folder)} is no folder: give the directory of a finished run")
    if is_export(folder):
        raise ValueError(f"{named(folder)} is an export, whose files are hashed: edit its run, and export that again")
    return folder


def _of_file(path: Path, trained: ClassVectors, names: Sequence[str]) -> Tensor:
    """Rows (K, D) of another file of class vectors by the teacher that the run has.

    Raises:
        ValueError: they are by another teacher, or lack a name.
    """
    from promptkd.model.class_vectors import ClassVectors

    other = ClassVectors.load(path)
    keys = ("made_by", "weights", "template")
    differing = [key for key in keys if other.source.get(key) != trained.source.get(key)]
    shared = [name for name in trained.classnames if name in other.classnames]
    if differing:
        key = differing[0]
        theirs, ours = shown(other.source.get(key, "unknown")), shown(trained.source.get(key, "unknown"))
        raise ValueError(f"{named(path)} is by another teacher ({key} {theirs}, of this run {ours}): {_REMEDY}")
    _compare(other.select(shared), trained.select(shared), named(path))
    return other.select(names).features


def _of_teacher(directory: str | Path, trained: ClassVectors, names: Sequence[str], place: str) -> Tensor:
    """Rows (K, D) of names by the text encoder that made a run's class vectors, which a few of them prove."""
    probes = list(dict.fromkeys(trained.classnames))[:PROBES]
    encoder = text_encoder(directory, trained, [*names, *probes], place)
    made = encoder.class_vectors([*names, *probes])
    _compare(made.select(probes), trained.select(probes), f"the teacher {encoder.about.get('source', place)}")
    return made.features[: len(names)]


def text_encoder(directory: str | Path, vectors: ClassVectors, names: Sequence[str], place: str = "") -> PromptedClip:
    """The frozen model whose text encoder made a run's class vectors, with vectors of some names.

    A student's is its teacher; of any other method it is the run itself.

    Args:
        directory: of the run.
        vectors: its class vectors, whose `source` says who made them.
        names: of classes.
        place: of the teacher, "" for the one that `source` has.

    Raises:
        ValueError: it cannot be opened, or makes no vectors of other names.
    """
    from promptkd.teacher.teacher import load_teacher

    source = place or vectors.source.get("source") or str(directory)
    template = vectors.source.get("template", "")
    # what made them says its CLIP behind "on", and a published checkpoint does not; a single text may hold " | "
    backbone = vectors.source.get("made_by", "").rpartition(" on ")[2]
    templates = [template] if template.count("{}") == 1 else template.split(" | ")
    phrase = template.partition("{}")[0].strip()
    try:
        return load_teacher(source, names, templates=templates, phrase=phrase, backbone=backbone or "ViT-L/14")
    except (OSError, ValueError, RuntimeError) as error:
        reason = clipped(" ".join(str(error).split()), 300)
        if "too long" in reason:
            raise ValueError(reason) from error
        moved = "source" in vectors.source and not place
        here = "; if it has moved, give its new place with --teacher" if moved else ""
        raise ValueError(f"{clipped(source)} encodes no names for this run ({reason}){here}") from error


_REMEDY = "class vectors of two teachers cannot be compared; give the teacher of this run with --teacher"


def _compare(made: ClassVectors, present: ClassVectors, who: str) -> None:
    """Raises ValueError where two encodings of the same names differ: they are by two teachers."""
    from torch.nn.functional import cosine_similarity

    if not made.classnames:
        return
    if made.features.shape != present.features.shape:
        sizes = f"{made.features.shape[-1]} channels, those of this run have {present.features.shape[-1]}"
        raise ValueError(f"{who} is not the one of this run: its vectors have {sizes}; {_REMEDY}")
    cosines = cosine_similarity(made.features.cpu(), present.features.cpu())
    hashes = [vectors.source.get("weights") for vectors in (made, present)]
    if not cosines.min() > (SAME if hashes[0] == hashes[1] else EXACT):
        place = int(cosines.argmin())
        raise ValueError(
            f"{who} is not the one of this run: it encodes {shown(made.classnames[place])} elsewhere "
            f"(cosine {cosines[place]:.4f}); {_REMEDY}"
        )
