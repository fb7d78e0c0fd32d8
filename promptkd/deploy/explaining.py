"""Why a prediction: attention and occlusion maps beside the teacher's, a map of features, agreement and calibration.

Attention is the class token's in the last block (`promptkd.model.attention`). Occlusion is Zeiler and Fergus's (arXiv
1311.2901, section 4.2): a square is greyed out, and the map says how much the predicted class's probability falls; a
grid of 8 x 8 places and a square of a quarter of the side are ours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd.bounded import named
from promptkd.deploy.class_editing import text_encoder
from promptkd.results import explanation
from promptkd.results.calibration import expected_calibration_error
from promptkd.results.predictions import FILE_NAME as PREDICTIONS
from promptkd.results.predictions import read_rows
from promptkd.results.record import FILE_NAME as RESULT
from promptkd.results.record import RunRecord
from promptkd.texts import one_line, path_of

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    from PIL import Image
    from torch import Tensor

    from promptkd.deploy.classifier import Classifier
    from promptkd.deploy.sources import Picture
    from promptkd.model.class_vectors import ClassVectors
    from promptkd.model.prompted_clip import PromptedClip

LARGEST_PAGE = 50  # images
GRID = 8  # places of an occlusion map along a side
MOST = 2000  # images of a run that are looked at; of more, some spread over the list
EXAMPLES = 3  # confident errors, and as many right answers
BATCH = 64
Grid = list[list[float]]


@dataclass(frozen=True)
class Guess:
    """A model's answer to an image, and where it looked.

    Attributes:
        who: the model.
        likeliest: (class, probability), the likeliest first.
        attention: rows of shares of attention; [] for an encoder that has none to show.
        occlusion: rows of falls of the first class's probability.
    """

    who: str
    likeliest: list[tuple[str, float]]
    attention: Grid
    occlusion: Grid

    def to_dict(self) -> dict[str, Any]:
        """The entry of explanation.json."""
        name, probability = self.likeliest[0]
        maps = {"attention": self.attention, "occlusion": self.occlusion}
        return {"who": self.who, "prediction": name, "probability": probability, **maps}


def occlusion_map(model: PromptedClip, vectors: ClassVectors, image: Tensor, label: int) -> Tensor:
    """The fall of a class's probability where a square of an image is greyed out.

    Args:
        model: the image encoder.
        vectors: of C classes.
        image: (3, H, W), normalised: 0 is the mean colour.
        label: the class.

    Returns:
        (GRID, GRID), -1 to 1.
    """
    import torch

    _, height, width = image.shape
    half = max(height // 8, 1), max(width // 8, 1)
    covered = image.repeat(GRID * GRID, 1, 1, 1)  # (64, 3, H, W)
    for place in range(GRID * GRID):
        y, x = (int((one + 0.5) * size / GRID) for one, size in zip(divmod(place, GRID), (height, width), strict=True))
        covered[place, :, max(y - half[0], 0) : y + half[0], max(x - half[1], 0) : x + half[1]] = 0
    with torch.no_grad():
        images = torch.cat([image[None], covered]).to(model.device)
        logits = torch.cat(
            [vectors.logits(model.image_features(part), model.logit_scale) for part in images.split(BATCH)]
        )
        probabilities = logits.softmax(dim=1)[:, label].cpu()
    return (probabilities[0] - probabilities[1:]).unflatten(0, (GRID, GRID))


def guess(model: PromptedClip, vectors: ClassVectors, image: Tensor, who: str, top: int = 5) -> Guess:
    """A model's answer to one image (3, H, W), as it wants it, among the classes of the vectors."""
    import torch

    from promptkd.model.attention import attention_maps, has_attention

    with torch.no_grad():
        logits = vectors.logits(model.image_features(image[None].to(model.device)), model.logit_scale)
        values, labels = logits.softmax(dim=1)[0].topk(min(top, len(vectors.classnames)))
    likeliest = [(vectors.classnames[one], p) for one, p in zip(labels.tolist(), values.tolist(), strict=True)]
    attention = _rounded(attention_maps(model, image[None])[0]) if has_attention(model) else []
    return Guess(who, likeliest, attention, _rounded(occlusion_map(model, vectors, image, int(labels[0]))))


def _rounded(grid: Tensor) -> Grid:
    return [[round(value, 5) for value in row] for row in grid.tolist()]


def teacher_of(directory: str | Path, classifier: Classifier) -> tuple[PromptedClip | None, str]:
    """The teacher of a student, with class vectors; None, and why, where there is none to be had."""
    source = classifier.class_vectors.source.get("source", "")
    if not source or not classifier.model.spec.projector_layers:
        return None, "it has no teacher"
    try:
        teacher = text_encoder(directory, classifier.class_vectors, classifier.classnames)
    except (OSError, ValueError) as error:
        return None, one_line(error)
    side = teacher.clip.visual.image_size
    side = side if isinstance(side, int) else side[0]
    if side != classifier.preprocessing.size[0]:
        return None, f"the teacher wants images of {side} pixels, the student {classifier.preprocessing.size[0]}"
    return teacher, ""


def explain_files(
    directory: str | Path, classifier: object, pictures: Sequence[Picture], out: Path, top: int = 5
) -> list[str]:
    """Writes a page with the answers of a run to some image files, and those of its teacher beside.

    Args:
        directory: of the run.
        classifier: what was opened there.
        pictures: LARGEST_PAGE at most.
        out: the page.
        top: classes of each answer.

    Returns:
        A line for each image that cannot be read.

    Raises:
        ValueError: too many images, or an .onnx file, which shows nothing of its inside.
        OSError: the page cannot be written.
    """
    from promptkd import files
    from promptkd.deploy.classifier import Classifier

    if not isinstance(classifier, Classifier):
        raise ValueError(f"{named(directory)} is an .onnx file, which shows no maps: explain with its run")
    if len(pictures) > LARGEST_PAGE:
        raise ValueError(f"--explain: a page holds {LARGEST_PAGE} images, name some of them")
    teacher, problem = teacher_of(directory, classifier)
    answers, failed = [], []
    for picture in pictures:
        try:
            image = picture.read()
        except OSError as error:
            failed.append(one_line(error))
            continue
        answers.append((picture.name, image, explain_image(classifier, image, teacher, top)))
    files.write_text(out, page(answers, str(directory), f"Without a teacher: {problem}." if problem else ""))
    return failed


def page(answers: Sequence[tuple[str, Image.Image, Sequence[Guess]]], run: str, note: str = "") -> str:
    """A self-contained page of explained images.

    Args:
        answers: (name, image, guesses) of each.
        run: what classified them.
        note: why no teacher stands beside, or "".
    """
    from html import escape

    from promptkd import pages
    from promptkd.pages import maps
    from promptkd.pages.pictures import data_uri

    parts = []
    for name, image, guesses in answers:
        small = image.convert("RGB")
        small.thumbnail((maps.SIDE, maps.SIDE))
        parts.append(maps.explained(name, data_uri(small), [one.to_dict() | {"top": one.likeliest} for one in guesses]))
    body = f"<header><h1>Predictions explained</h1><p>{escape(run)}</p></header><main><p>{escape(note)}</p>{maps.HELP}"
    return pages.document("Predictions explained", f"{body}{''.join(parts)}</main>")


def explain_image(
    classifier: Classifier, image: Image.Image, teacher: PromptedClip | None = None, top: int = 5
) -> list[Guess]:
    """The student's answer to an image, and the teacher's among the same classes."""
    import torch

    pixels = torch.from_numpy(classifier.pixels([image])[0])  # (3, H, W)
    guesses = [guess(classifier.model, classifier.class_vectors, pixels, "student", top)]
    if teacher is not None and teacher.vectors is not None:
        vectors = teacher.vectors.select(classifier.classnames)
        guesses.append(guess(teacher, vectors, pixels, "teacher", top))
    return guesses


def explain_run(directory: str | Path) -> Path:
    """Looks at a run's labelled test images once more, and leaves explanation.json beside it.

    Raises:
        OSError: the images of predictions.csv are not below the data root any more.
        ValueError: the run cannot be opened (CoCoOp has no class vectors), or has no labelled predictions.
    """
    from promptkd.deploy.classifier import Classifier
    from promptkd.model.class_vectors import FILE_NAME, ClassVectors

    folder = Path(directory)
    record = RunRecord.read(folder / RESULT)
    rows = [row for row in read_rows(folder / PREDICTIONS) if row["label"]]
    if not rows:
        raise ValueError(f"{folder / PREDICTIONS} has no image with a label: there is nothing to explain")
    rows = rows if len(rows) <= MOST else [rows[i * len(rows) // MOST] for i in range(MOST)]
    classifier = Classifier(folder)
    classifier.class_vectors = ClassVectors.load(folder / FILE_NAME)  # those that were measured, whatever was edited
    teacher, problem = teacher_of(folder, classifier)
    names = list(dict.fromkeys(classifier.classnames))
    features, teachers = _features(record, rows, classifier, teacher)
    kind, images, classes = flat_map(features, classifier.class_vectors.select(names).features)
    examples = []
    for row in _examples(rows):
        group = _of_group(rows, row["group"], record, names)
        classifier.restrict(group)
        guesses = explain_image(classifier, _opened(record, row), teacher)
        examples.append({"path": row["path"], "label": row["label"], "guesses": [one.to_dict() for one in guesses]})
        classifier.class_vectors = ClassVectors.load(folder / FILE_NAME)
    points = [[*point, names.index(row["label"])] for point, row in zip(images, rows, strict=True)]
    about = "" if teacher is None else f"{teacher.about['trainer']} {teacher.about['backbone']}"
    beside = {} if teachers is None or teacher is None else _beside(rows, record, names, teachers, teacher)
    return explanation.write(
        folder,
        {
            "config_hash": record.config_hash, "map": kind, "names": names, "images": points, "classes": classes,
            "teacher": beside, "teacher_name": about, "teacher_problem": problem, "examples": examples,
        },
    )  # fmt: skip


def _opened(record: RunRecord, row: dict[str, str]) -> Image.Image:
    """A test image, from under the data root alone."""
    from promptkd.data.images import read_published

    top = os.path.realpath(os.path.expanduser(record.data_root))
    real = os.path.realpath(os.path.join(top, path_of(row["path"])))
    if os.path.commonpath([top, real]) != top:
        raise ValueError(f"{row['path']} is not below the data root {record.data_root}")
    return read_published(real)


def _features(
    record: RunRecord, rows: Sequence[dict[str, str]], classifier: Classifier, teacher: PromptedClip | None
) -> tuple[Tensor, Tensor | None]:
    """Features of the images by the student and by its teacher: (N, D) each, un-normalised."""
    import torch

    mine, theirs = [], []
    for start in range(0, len(rows), BATCH):
        pixels = torch.from_numpy(classifier.pixels([_opened(record, row) for row in rows[start : start + BATCH]]))
        with torch.no_grad():
            mine.append(classifier.model.image_features(pixels).float())
            if teacher is not None:
                theirs.append(teacher.image_features(pixels).float())
    return torch.cat(mine), torch.cat(theirs) if theirs else None


def flat_map(features: Tensor, vectors: Tensor) -> tuple[str, Grid, Grid]:
    """Images and classes in two dimensions: by UMAP (McInnes et al., arXiv 1802.03426) if it is installed, else by PCA.

    CLIP's images and texts lie apart (Liang et al., arXiv 2203.02053): both are brought to unit norm, and each kind to
    mean 0, so that they can be seen in one picture (ours).

    Args:
        features: (N, D) of images.
        vectors: (C, D) of classes.

    Returns:
        The method's name, N points, C points.
    """
    import torch
    from torch.nn.functional import normalize

    parts = [normalize(one.float(), dim=1) for one in (features, vectors)]
    images, classes = (one - one.mean(dim=0) for one in parts)
    try:
        from umap import UMAP
    except ImportError:
        _, _, directions = torch.linalg.svd(images, full_matrices=False)
        return "PCA", _rounded(images @ directions[:2].T), _rounded(classes @ directions[:2].T)
    both = torch.cat([images, classes]).numpy()
    flat = torch.from_numpy(UMAP(random_state=0, n_jobs=1, n_neighbors=min(15, len(both) - 1)).fit_transform(both))
    return "UMAP", _rounded(flat[: len(images)]), _rounded(flat[len(images) :])


def _examples(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The most confident errors, then the most confident right answers, one of each class and prediction."""
    first: dict[tuple[str, str], dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: -float(row["p1"])):
        first.setdefault((row["label"], row["prediction"]), row)
    wrong, right = ([row for pair, row in first.items() if (pair[0] == pair[1]) is same] for same in (False, True))
    return [*wrong[:EXAMPLES], *right[:EXAMPLES]]


def _of_group(rows: Sequence[dict[str, str]], group: str, record: RunRecord, names: Sequence[str]) -> list[str]:
    """The classes of a group, among which its images were classified."""
    known = set((record.measures.get(group) or {}).get("per_class") or {})
    for row in rows:
        if row["group"] == group:
            known |= {row["label"], row["prediction"], *(row[f"class{i}"] for i in range(1, 6) if row.get(f"class{i}"))}
    return [name for name in names if name in known]


def _beside(
    rows: Sequence[dict[str, str]], record: RunRecord, names: Sequence[str], features: Tensor, teacher: PromptedClip
) -> dict[str, dict[str, float]]:
    """Class group -> agreement of teacher and student, the teacher's accuracy and calibration error; in percent."""
    assert teacher.vectors is not None
    found = {}
    for group in dict.fromkeys(row["group"] for row in rows):
        places = [i for i, row in enumerate(rows) if row["group"] == group]
        vectors = teacher.vectors.select(_of_group(rows, group, record, names))
        values, labels = vectors.logits(features[places], teacher.logit_scale).softmax(dim=1).max(dim=1)
        guesses = [vectors.classnames[one] for one in labels.tolist()]
        right = [guess == rows[i]["label"] for guess, i in zip(guesses, places, strict=True)]
        same = [guess == rows[i]["prediction"] for guess, i in zip(guesses, places, strict=True)]
        found[group] = {
            "agreement": 100 * sum(same) / len(same),
            "accuracy": 100 * sum(right) / len(right),
            "ece": expected_calibration_error(values.tolist(), right) or 0.0,
        }
    return found
