"""Hand-written prompt templates: data, each list under the name it has in the field."""

import re

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

DEFAULT = "a photo of a {}."

# One template a data set, as zero-shot CLIP is evaluated in CoOp (arXiv 2109.01134); DEFAULT for all others.
CUSTOM_TEMPLATES = {
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a photo of {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
}

# The 80 of CLIP (arXiv 2103.00020), which open_clip keeps as functions of the class name.
IMAGENET_TEMPLATES = [fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES]

# The seven that CLIP's authors found by forward selection.
IMAGENET_TEMPLATES_SELECT = [fill("{}") for fill in SIMPLE_IMAGENET_TEMPLATES]

# The 60 of PromptSRC (arXiv 2307.06948): the first 60, "a photo of a {}." in front.
PROMPTSRC_TEMPLATES = [DEFAULT, *(template for template in IMAGENET_TEMPLATES[:60] if template != DEFAULT)]


# What people write for the class name elsewhere, and what is filled nowhere here.
_OTHER_PLACES = re.compile(
    r"\{[^{}]*[^{}\s][^{}]*\}|\{\s+\}|%s|%\(\w+\)s|\$\{?(?:class|name|label)\w*\}?|<(?:class|name|label|cls)\w*>", re.I
)


def check_template(template: str, name: str = "") -> None:
    """Makes sure that a template has one place for the class name, {}, and nothing else that looks like one.

    Args:
        template: a text, as "a photo of a {}."
        name: of the option, for the message, with a space behind it.

    Raises:
        ValueError: the class name would stand nowhere, twice, or beside a placeholder that stays as text.
    """
    shown = repr(template if len(template) <= 80 else f"{template[:77]}...")
    wanted = 'write the place of the class name as {}, once: "a photo of a {}."'
    if other := _OTHER_PLACES.search(template):
        raise ValueError(f"{name}{shown}: {other.group()} is not filled; {wanted}")
    if template.count("{}") != 1:
        count = "no place" if "{}" not in template else f"{template.count('{}')} places"
        raise ValueError(f"{name}{shown} has {count} for the class name; {wanted}")
    if {"{", "}"} & set(template.replace("{}", "")):
        raise ValueError(f"{name}{shown} has a brace beside {{}}; {wanted}")


def dataset_template(dataset: str) -> str:
    """The hand-written template of a data set, by its registered name."""
    return CUSTOM_TEMPLATES.get(dataset, DEFAULT)


def ensemble_templates(dataset: str) -> list[str]:
    """The templates that ZeroshotCLIP2 averages: the seven selected, and the data set's, except for ImageNet."""
    hand_written = [] if dataset == "ImageNet" else [dataset_template(dataset)]  # for its variants too, as published
    return [*IMAGENET_TEMPLATES_SELECT, *hand_written]
