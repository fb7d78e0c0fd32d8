"""Hand-written prompt templates: data, each list under the name it has in the field."""

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


def dataset_template(dataset: str) -> str:
    """The hand-written template of a data set, by its registered name."""
    return CUSTOM_TEMPLATES.get(dataset, DEFAULT)


def ensemble_templates(dataset: str) -> list[str]:
    """The templates that ZeroshotCLIP2 averages: the seven selected, and the data set's, except for ImageNet."""
    hand_written = [] if dataset == "ImageNet" else [dataset_template(dataset)]  # for its variants too, as published
    return [*IMAGENET_TEMPLATES_SELECT, *hand_written]
