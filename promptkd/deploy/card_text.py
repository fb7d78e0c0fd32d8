"""The text of a model card: metadata as YAML, then Markdown. Names of any origin stay plain text in both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from promptkd.results.record import GROUPS, RunRecord
from promptkd.texts import markdown, one_line

if TYPE_CHECKING:
    from promptkd.tables.summaries import Summary

FILL_IN = "fill in"
PLACE = "OWNER/NAME"  # what a push replaces by the name that it is pushed under
_LONGEST = 200  # characters of a name
_MOST_CLASSES = 1000  # lines of the table of classes
# CLIPs by OpenAI's names -> their pages on the Hub.
_PAGES = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}
_WORDS = {"base": "base classes", "new": "new classes", "all": "all classes", "hm": "harmonic mean of base and new"}


def text(record: RunRecord, summary: Summary) -> str:
    """The whole card.

    Args:
        record: of the run.
        summary: of it and the other seeds of its experiment; without runs where nothing was measured.
    """
    parts = [
        f"---\n{_head(record)}---\n",
        f"# {_shown(title(record))}\n",
        _what(record),
        *_section("What it learned from", _source(record)),
        *_section("Results", _results(record, summary)),
        *_section("How to load it", _loading()),
        *_section("Licences", _licences(record)),
        *_section("Classes", _classes(record)),
        *_section("How it was made", _making(record)),
    ]
    return "\n".join(parts)


def title(record: RunRecord) -> str:
    """`PromptKD ViT-B/16 on EuroSAT`."""
    return _name(f"{record.trainer} {_short(record.backbone)} on {record.dataset}")


def _head(record: RunRecord) -> str:
    """The metadata, in YAML."""
    tags = ["promptkd", "clip", "prompt-learning", *(["knowledge-distillation"] if record.teacher else [])]
    content: dict[str, Any] = {"license": "unknown", "library_name": "promptkd"}
    tags = list(dict.fromkeys([*tags, _identifier(record.trainer)]))
    content |= {"pipeline_tag": "image-classification", "tags": tags}
    page = record.backbone.removeprefix("hf-hub:") if record.backbone.startswith("hf-hub:") else ""
    if re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", page := _PAGES.get(record.backbone, page), re.ASCII):
        content["base_model"] = page
    content["datasets"] = [_identifier(record.dataset)]
    if record.accuracies:
        content |= {"metrics": ["accuracy"], "model-index": [_index(record)]}
    lines = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10**6)
    advice = "an identifier of huggingface.co/docs/hub/repositories-licenses that the licences below allow"
    return lines.replace("license: unknown\n", f"license: unknown  # {FILL_IN}: {advice}\n", 1)


def _index(record: RunRecord) -> dict[str, Any]:
    """The results of the run itself, as the Hub reads them."""
    metrics = [
        {
            "type": "accuracy",
            "name": f"{_WORDS[group]}, percent, seed {record.seed}",
            "value": round(value, 4),
        }
        for group, value in record.accuracies.items()
    ]
    dataset = {"name": _name(record.dataset), "type": _identifier(record.dataset), "split": "test"}
    task = {"type": "image-classification", "name": "Image classification"}
    return {"name": title(record), "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}


def _what(record: RunRecord) -> str:
    names = {name for values in record.measures.values() for name in values.get("per_class", {})}
    classes = f" {len(names)}" if names else ""
    lines = [
        f"An image classifier of{classes} classes, from the CLIP {_shown(_short(record.backbone))} by the method "
        f"{_shown(record.trainer)}: it gives each class a probability, and knows no others. Made with promptkd.\n"
    ]
    if record.teacher:
        lines.append(f"It is the student of a teacher, {_shown(_teacher(record))}.\n")
    return "\n".join(lines)


def _source(record: RunRecord) -> str:
    """Data, labels, and whether test classes' images were among what it learned from."""
    shots = "all there are" if record.shots < 1 else str(record.shots)
    rows: list[tuple[str, Any]] = [("data set", record.dataset), ("protocol", record.protocol)]
    if record.learned_on and record.learned_on != record.dataset:
        rows.append(("labels of", record.learned_on))
    rows.append(("training images a class", shots))
    rows += [("training images", record.train_images)] if record.train_images is not None else []
    rows += [("of them used without labels", record.unlabelled_images)] if record.unlabelled_images else []
    if record.template:
        rows.append(("text of a class", record.template))
    if record.seen and record.seen.get("from"):
        rows.append(("those without labels are of the", record.seen["from"]))
    return f"{_table(('', ''), rows)}\n{_seen(record)}\n"


def _seen(record: RunRecord) -> str:
    """Whether it is transductive, in a sentence."""
    if record.transductive:
        return "**Transductive**: it has seen images of the tested classes without labels, new ones included."
    unseen = {"base2new": "image of a new class", "cross": "image of this data set", "dg": "image of this data set"}
    return f"**Inductive**: in training it has seen no {unseen.get(record.protocol, 'image without a label')}."


def _results(record: RunRecord, summary: Summary) -> str:
    """Accuracies of the run and of all its seeds, the teacher's beside them, and how the epoch was chosen."""
    chosen = f"The epoch that counts: {_shown(record.selection)}"
    chosen += f", of {record.epochs}.\n" if record.epochs else ".\n"
    if not record.accuracies:
        return f"Nothing was measured: there were no labelled test images.\n\n{chosen}"
    seeds = summary.seeds
    several = f"seeds {' '.join(map(str, seeds))}"
    heads = ["accuracy, percent", "images", f"this run, seed {record.seed}"]
    heads += [f"{several}, mean ± deviation"] if len(seeds) > 1 else []
    teacher = (record.teacher or {}).get("metrics") or {}
    heads += ["teacher"] if teacher else []
    rows = []
    for group, value in record.accuracies.items():
        images = record.measures.get(group, {}).get("images", "")
        row: list[Any] = [_WORDS[group], images, f"{value:.2f}"]
        if len(seeds) > 1:
            row.append(f"{summary.mean(group):.2f} ± {summary.std(group):.2f}")
        if teacher:
            number = teacher.get(group)
            number = number.get("accuracy") if isinstance(number, dict) else number
            row.append(f"{number:.2f}" if isinstance(number, (int, float)) else "")
        rows.append(row)
    note = "One seed: how much another one differs is not known.\n" if len(seeds) < 2 else (
        "The deviation is that of the sample (n - 1) over seeds. The harmonic mean of several seeds is that of their "
        "mean accuracies.\n"
    )  # fmt: skip
    return f"{_table(heads, rows)}\n{chosen}\n{note}"


def _loading() -> str:
    return (
        '```bash\npip install "promptkd[hub]"\n```\n\n'
        "```python\nimport promptkd\nfrom PIL import Image\n\n"
        f'model = promptkd.load("hf-hub:{PLACE}")  # or the folder of this file\n'
        'print(model.predict(Image.open("photo.jpg"), top=3))\n```\n'
    )


def _licences(record: RunRecord) -> str:
    rows = [
        (f"weights of the CLIP {_short(record.backbone)}", FILL_IN),
        (f"images of {record.dataset}", FILL_IN),
        ("what was learned (the prompts, this card)", FILL_IN),
        ("the code, promptkd", "MIT"),
    ]
    if record.teacher:
        rows.insert(1, (f"weights of the teacher, {_teacher(record)}", FILL_IN))
    return _table(("of", "licence"), rows)


def _classes(record: RunRecord) -> str:
    """Each class with its accuracy in the run."""
    rows = [
        (name, group, f"{value:.1f}")
        for group in GROUPS
        for name, value in record.measures.get(group, {}).get("per_class", {}).items()
    ]
    if not rows:
        return ""
    more = f"\nand {len(rows) - _MOST_CLASSES} more.\n" if len(rows) > _MOST_CLASSES else ""
    return _table(("class", "group", f"accuracy, percent, seed {record.seed}"), rows[:_MOST_CLASSES]) + more


def _making(record: RunRecord) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in (record.versions or {}).items())
    rows = [("finished", record.finished), ("commit of promptkd", record.commit or "unknown"), ("versions", versions)]
    rows += [("device", record.device or "unknown"), ("configuration hash", record.config_hash)]
    if record.learned_parameters is not None:
        rows.append(("learned parameters", f"{record.learned_parameters:,}"))
    if record.train_seconds:
        rows.append(("training", f"{record.train_seconds:.0f} s"))
    return _table(("", ""), rows)


def _teacher(record: RunRecord) -> str:
    """The teachers' methods and CLIPs, without their paths."""
    known = {"trainer", "backbone", "teachers"} & (record.teacher or {}).keys()
    return (record.teacher_name(_short) if known else "") or "unknown"


def _short(backbone: str) -> str:
    """A CLIP's name; of a weight file the file's alone, for folders of this machine are nobody's business."""
    path = "/" in backbone and backbone not in _PAGES and not backbone.startswith(("hf-hub:", "RN", "ViT"))
    return backbone.rpartition("/")[2] if path else backbone


def _section(heading: str, body: str) -> Sequence[str]:
    return [f"## {heading}\n", body] if body else []


def _table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_shown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def _shown(value: object) -> str:
    """A value as plain text in Markdown."""
    return markdown(_name(value), strict=True)


def _name(value: object) -> str:
    """A value on one line, of a length that a card has room for."""
    line = one_line(value)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _identifier(name: str) -> str:
    """A name in the characters of the Hub's identifiers, in lower case."""
    return re.sub(r"[^a-z0-9._-]+", "-", one_line(name).lower())[:96].strip("-._") or "unnamed"
