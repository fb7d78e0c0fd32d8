"""A data set on a page, before anything is trained: its pictures as training sees them, prompts, counts, first guesses.

What costs hours when it is seen too late is seen here: a crop that cuts the object off, a template that does not fit
the class names, folders that are named by codes, a teacher that knows none of the classes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import files, pages
from promptkd.pages.pictures import data_uri
from promptkd.texts import one_line, path_text

if TYPE_CHECKING:  # imported where it is used: nothing of this package loads PyTorch by being imported
    from torch import Tensor
    from yacs.config import CfgNode

SIDE = 96  # pixels of a picture on the page
CLASSES = 60  # whose pictures are shown; of more, some spread over the list
BATCH = 32


@dataclass
class Guesses:
    """What a model makes of the sample.

    Attributes:
        role: "teacher" or "student, zero-shot".
        who: its name.
        likeliest: (class, probability) of each image.
        problem: why there are none.
    """

    role: str
    who: str
    likeliest: list[tuple[str, float]] = field(default_factory=list)
    problem: str = ""


def configuration(
    name: str, root: str, seed: int = 1, recipe: str = "", template: str = "", options: Mapping[str, Any] | None = None
) -> CfgNode:
    """The configuration of a run on a data set, of which `look` shows the data.

    Args:
        name: the data set's registered name.
        root: DATASET.ROOT.
        seed: SEED.
        recipe: a file of configs/trainers; "" for what every run shares.
        template: TEMPLATE; "" for the data set's own.
        options: other keys of DATASET.

    Raises:
        OSError, ValueError: the recipe, or an option, cannot be read.
    """
    from promptkd.engine import command

    pairs = {f"DATASET.{key}": value for key, value in (options or {}).items() if value}
    pairs |= {"DATASET.NAME": name} | ({"TEMPLATE": template} if template else {})
    words = ["--root", root, "--seed", str(seed), "--trainer", "ZeroshotCLIP", "--output-dir", "unused"]
    words += ["--config-file", recipe] if recipe else []
    args = command.parser().parse_args([*words, *(str(word) for pair in pairs.items() for word in pair)])
    return command.configure(args)


def look(
    cfg: CfgNode, out: Path, teacher: str = "", student: str = "", views: int = 3, sample: int = 60
) -> list[Guesses]:
    """Writes the page.

    Args:
        cfg: a run's configuration, which names the data set, the transform and the template.
        out: the file.
        teacher: a run's directory, a published .pth.tar or a CLIP's name; "" for none.
        student: a CLIP's name; "" for none.
        views: augmented views of one training image of each class.
        sample: test images (training images, where there are none) that the models guess.

    Returns:
        The guesses that are on the page.

    Raises:
        OSError, ValueError: the data set cannot be read, or the page cannot be written.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd.engine.task import text_templates

    data = DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg)
    read = _reader(cfg)
    draw = random.Random(int(cfg.SEED))
    texts = text_templates(cfg)
    items = list(data.full.test) or list(data.full.train)
    chosen = sorted(draw.sample(range(len(items)), min(sample, len(items))))
    sampled = [items[place] for place in chosen]
    guesses = []
    for role, name in (("teacher", teacher), ("student, zero-shot", student)):
        if name:
            guesses.append(_guess(role, name, cfg, data.all_classnames, sampled, texts, read))
    parts = [
        _counts(data, cfg),
        _first(sampled, guesses),
        _template(texts, data.all_classnames),
        _classes(data, cfg, read, texts["template"], views, draw),
        _sample(sampled, guesses, read),
    ]
    title = f"{cfg.DATASET.NAME} before training"
    body = f"<header><h1>{escape(title)}</h1><p>{escape(data.split_source)}</p></header><main>{''.join(parts)}</main>"
    files.write_text(out, pages.document(title, body))
    return guesses


def _reader(cfg: CfgNode) -> Any:
    """What opens an image file as a run of this data set does: path -> RGB image."""
    from dassl.data.datasets import DATASET_REGISTRY
    from promptkd.data.images import read_published, read_upright

    users = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "image_wrapper", None)
    return read_upright if users else read_published


def _counts(data: Any, cfg: CfgNode) -> str:
    counts = {part: len(items) for part, items in vars(data.full).items()}
    facts = {
        "images": ", ".join(f"{part} {number:,}" for part, number in counts.items()),
        "classes": f"{len(data.all_classnames):,}",
        "folder": path_text(data.layout.folder),
        "views": f"{' '.join(cfg.INPUT.TRANSFORMS)} to {cfg.INPUT.SIZE[0]} x {cfg.INPUT.SIZE[1]} pixels",
    }
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    return f"<dl>{rows}</dl>"


def _template(texts: dict[str, Any], names: Sequence[str]) -> str:
    """The texts that class names are put into, with the first and the longest name."""
    from promptkd.model.tokens import class_prompt

    shown = list(dict.fromkeys([names[0], max(names, key=len)]))
    rows = [f"<li><b>{escape(class_prompt(texts['template'], name))}</b></li>" for name in shown]
    others = [one for one in texts["templates"] if one != texts["template"]]
    ensemble = f" Zero-shot ensembles average also: {escape(' | '.join(others))}" if others else ""
    return (
        f"<h2>Prompts</h2><p>A class name is put into <b>{escape(texts['template'])}</b></p>"
        f"<ul>{''.join(rows)}</ul><p>{ensemble}</p>"
    )


def _classes(data: Any, cfg: CfgNode, read: Any, template: str, views: int, draw: random.Random) -> str:
    """A card of each class: counts, its prompt, a training image and augmented views of it."""
    import torch

    from dassl.data.transforms import build_transform
    from promptkd.model.tokens import class_prompt

    names = list(data.all_classnames)
    shown = names if len(names) <= CLASSES else [names[i * len(names) // CLASSES] for i in range(CLASSES)]
    numbers = {part: Counter(item.label for item in items) for part, items in vars(data.full).items()}
    by_label: dict[int, list[Any]] = {}
    for item in data.full.train or data.full.test:
        by_label.setdefault(item.label, []).append(item)
    quiet = cfg.clone()
    quiet.defrost()
    quiet.VERBOSE = False
    transform = build_transform(quiet, is_train=True)
    torch.manual_seed(int(cfg.SEED))
    unlabelled = by_label.pop(-1, [])
    cards = (
        [_card("images without labels", "", unlabelled, {}, read, transform, cfg, views, draw)] if unlabelled else []
    )
    for name in shown:
        label = names.index(name)
        counts = {part: number[label] for part, number in numbers.items()}
        prompt = class_prompt(template, name)
        cards.append(_card(name, prompt, by_label.get(label, []), counts, read, transform, cfg, views, draw))
    more = f", {len(shown)} of {len(names):,}" if len(shown) < len(names) else ""
    return (
        f"<h2>Classes{more}</h2><p>One training image of each, and {views} views of it as training draws them.</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _card(
    name: str, prompt: str, items: Sequence[Any], counts: dict[str, int], read: Any, transform: Any, cfg: CfgNode,
    views: int, draw: random.Random,
) -> str:  # fmt: skip
    pictures = []
    if items:
        item = draw.choice(items)
        try:
            image = read(item.impath)
            pictures.append(_picture(_small(image), "as it is", path_text(item.impath)))
            pictures += [_picture(_seen(transform(image), cfg), f"view {n + 1}", "") for n in range(views)]
        except OSError as error:
            pictures.append(f"<span>{escape(one_line(error))}</span>")
    numbers = ", ".join(f"{part} {number}" for part, number in counts.items() if number) or f"{len(items):,} images"
    empty = "" if items else '<span class="gone">no images</span>'
    head = f"<h5>{escape(name)}</h5><small>{escape(numbers)}<br>{escape(prompt)}</small>"
    return f'<div class="card">{head}<div class="strip">{"".join(pictures)}{empty}</div></div>'


def _small(image: Any) -> str:
    copy = image.copy()
    copy.thumbnail((SIDE, SIDE))
    return data_uri(copy)


def _seen(tensor: Tensor, cfg: CfgNode) -> str:
    """A model's input (3, H, W) as a picture again: the normalisation taken back."""
    import torch
    from PIL import Image

    if "normalize" in cfg.INPUT.TRANSFORMS:
        mean, std = (
            torch.tensor(list(values))[:, None, None] for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
        )
        tensor = tensor * std + mean
    pixels = (tensor.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    return data_uri(picture)


def _picture(source: str, alt: str, title: str) -> str:
    return f'<img alt="{escape(alt)}" title="{escape(title or alt)}" src="{source}">'


def _guess(
    role: str, source: str, cfg: CfgNode, names: Sequence[str], items: Sequence[Any], texts: dict[str, Any], read: Any
) -> Guesses:
    """A model's likeliest class of each image, by its own input size and statistics; or why there are none."""
    import torch

    from promptkd.deploy.preprocessing import Preprocessing
    from promptkd.teacher.teacher import load_teacher

    try:
        options = cfg.TRAINER.get("PROMPTKD", {}) if "TRAINER" in cfg else {}
        backbone, phrase = options.get("TEACHER_NAME", "ViT-L/14"), options.get("CTX_INIT", "a photo of a")
        model = load_teacher(source, names, templates=[texts["template"]], backbone=backbone, phrase=phrase)
        assert model.vectors is not None
        transform = Preprocessing.of_model(model)
        found: list[tuple[str, float]] = []
        for start in range(0, len(items), BATCH):
            images = torch.stack([transform.tensor(read(item.impath)) for item in items[start : start + BATCH]])
            with torch.no_grad():
                values, labels = model.logits(images).softmax(dim=1).max(dim=1)  # (B,) each
            found += [(names[one], value) for one, value in zip(labels.tolist(), values.tolist(), strict=True)]
        who = f"{model.about['trainer']} {model.about['backbone']}"
        return Guesses(role, who, found)
    except (OSError, ValueError, RuntimeError) as error:
        return Guesses(role, source, problem=one_line(error))


def right_of(guesses: Guesses, items: Sequence[Any]) -> float | None:
    """The share (percent) of the labelled images whose guess is right; None where none has a label."""
    pairs = [
        (item.classname, name) for item, (name, _) in zip(items, guesses.likeliest, strict=True) if item.label >= 0
    ]
    return 100 * sum(label == name for label, name in pairs) / len(pairs) if pairs else None


def _first(items: Sequence[Any], guesses: Sequence[Guesses]) -> str:
    """A line for each model: how much of the sample it guesses, and how sure it is."""
    lines = []
    for one in guesses:
        share = None if one.problem else right_of(one, items)
        text = one.problem or ("no labels to compare with" if share is None else f"{share:.1f} % right")
        mean = sum(p for _, p in one.likeliest) / len(one.likeliest) if one.likeliest else None
        sure = "" if mean is None else f", mean confidence {100 * mean:.1f} %"
        lines.append(f"<li>{escape(one.role)}, {escape(one.who)}: <b>{escape(text)}</b>{sure}</li>")
    if not lines:
        lines = ["<li>No model was named: --teacher and --student show what they make of some images.</li>"]
    return f"<h2>First guesses on {len(items)} images</h2><ul>{''.join(lines)}</ul>"


def _sample(items: Sequence[Any], guesses: Sequence[Guesses], read: Any) -> str:
    """The sampled images, each with the guesses of the models."""
    figures = []
    for place, item in enumerate(items):
        try:
            picture = _picture(_small(read(item.impath)), item.classname or "no label", path_text(item.impath))
        except OSError as error:
            picture = f"<span>{escape(one_line(error))}</span>"
        caption = escape(item.classname or "no label")
        for one in guesses:
            if one.likeliest:
                name, p = one.likeliest[place]
                kind = "hit" if name == item.classname else "miss" if item.label >= 0 else ""
                word = one.role.partition(",")[0]
                caption += (
                    f'<span class="guess {kind}"><i>{escape(word)}</i> {escape(name)} {100 * p:.0f}&nbsp;%</span>'
                )
        figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    return f'<h2>The sample</h2><div class="gallery">{"".join(figures)}</div>'
