"""A self-contained folder of a model: its encoder, what it learned, class vectors, and model.json, their description.

It opens without a registry of methods, a text encoder or a download. A slim one leaves out the frozen encoder and has
its name and hash instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptkd import bounded, files
from promptkd.deploy.preprocessing import Preprocessing
from promptkd.results.numbers import check_temperature

if TYPE_CHECKING:
    import torch

    from promptkd.deploy.classifier import Classifier
    from promptkd.model.parts import Clip
    from promptkd.model.prompted_clip import PromptedClip

DESCRIPTION, ENCODER, LEARNED = "model.json", "encoder.safetensors", "prompts.safetensors"
FORMAT = 1
_FIELDS = ("format", "about", "spec", "architecture", "backbone", "encoder", "preprocessing", "classes", "files")


def is_export(directory: str | Path) -> bool:
    """Whether a directory is such a folder."""
    return (Path(directory) / DESCRIPTION).is_file()


def write(classifier: Classifier, folder: Path, about: Mapping[str, Any], slim: bool = False) -> None:
    """Writes a classifier's files into an empty folder (see `promptkd.files.new_folder`).

    Args:
        classifier: of a finished run.
        folder: exists.
        about: provenance, for model.json.
        slim: leaves out the frozen encoder.

    Raises:
        ValueError: the encoder has no configuration by which it could be rebuilt, or there are no class vectors.
        OSError: it cannot be written.
    """
    from safetensors.torch import save_file

    from promptkd.deploy.exporting.origin import without_folders
    from promptkd.model.class_vectors import FILE_NAME, weights_hash
    from promptkd.model.image_side import image_configuration, image_tensors, learned_for_images

    model = classifier.as_learned if slim else classifier.model  # whole: tuned weights are in the encoder
    spec, learned = learned_for_images(model)
    templates = classifier.class_vectors.source.get("template", "")
    backbone = str(model.about.get("backbone", ""))
    parts = {LEARNED: learned} | ({} if slim else {ENCODER: image_tensors(model.clip)})
    for name, tensors in parts.items():
        whole = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        with files.replacing(folder / name) as file:
            save_file(whole, file)
    vectors = classifier.class_vectors
    replace(vectors, source=without_folders(vectors.source)).save(folder / FILE_NAME)
    if classifier.rejection is not None:
        classifier.rejection.write(folder)
    description = {
        "format": FORMAT,
        "about": dict(about),
        "backbone": backbone if slim else without_folders({"": backbone})[""],
        "architecture": image_configuration(model.clip),
        "encoder": {"included": not slim, "weights": weights_hash(model.clip.visual)},
        "spec": spec.to_dict(),
        "preprocessing": classifier.preprocessing.to_dict(),
        "temperature": classifier.temperature,
        "classes": list(classifier.classnames),
        "templates": templates.split(" | ") if templates else [],
        "files": {name: files.content_digest(folder / name) for name in (*parts, FILE_NAME)},
    }
    files.write_json(folder / DESCRIPTION, description)


def read(
    directory: str | Path, device: torch.device | str = "cpu"
) -> tuple[PromptedClip, Preprocessing, dict[str, str], float]:
    """The frozen model of a folder with its class vectors; its preprocessing; its origin; its temperature.

    Raises:
        FileNotFoundError: a file of it is missing, or the encoder that a slim folder names.
        ValueError: a file is damaged (its hash is another), or does not fit; the message names it.
    """
    from promptkd.model.class_vectors import FILE_NAME, ClassVectors
    from promptkd.model.image_side import rebuild
    from promptkd.model.spec import PromptSpec
    from promptkd.tensors import read_safetensors

    folder = Path(directory)
    description = read_description(folder)
    where = bounded.named(folder / DESCRIPTION)
    try:
        spec = PromptSpec.from_dict(description["spec"])
        preprocessing = Preprocessing.from_dict(description["preprocessing"])
    except ValueError as error:
        raise ValueError(f"{where}: {bounded.clipped(error, 300)}") from error
    check_files(folder, description["files"])
    vectors = ClassVectors.load(folder / FILE_NAME)
    if list(vectors.classnames) != description["classes"]:
        raise ValueError(f"{where} and {FILE_NAME} name other classes: they are not of one export")
    about = {key: str(value) for key, value in description["about"].items()}
    known = about | {"backbone": description["backbone"], "source": str(folder)}
    learned = read_safetensors(folder / LEARNED)[0]
    try:
        model = rebuild(_encoder(folder, description), spec, learned, vectors, device, known)
    except (IndexError, TypeError) as error:
        raise ValueError(f"{where} does not fit the tensors beside it ({bounded.clipped(error, 300)})") from error
    return model, preprocessing, about, description.get("temperature", 1.0)


def read_description(folder: Path) -> dict[str, Any]:
    """The content of model.json, each field of its kind.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; the message names file and field.
    """
    path = folder / DESCRIPTION
    content = bounded.read_json(path, bounded.RECORD, bounded.LIST_VALUES)
    where = bounded.named(path)
    if not isinstance(content, dict) or (lacking := [field for field in _FIELDS if field not in content]):
        raise ValueError(f"{where} lacks {', '.join(lacking) if isinstance(content, dict) else 'every field'}")
    if content["format"] != FORMAT:
        raise ValueError(f"{where} is of format {bounded.shown(content['format'])}, this version reads {FORMAT}")
    for field in ("about", "spec", "architecture", "encoder", "preprocessing", "files"):
        if not isinstance(content[field], dict):
            raise ValueError(f"{where}: {field} is {bounded.shown(content[field])}, no mapping")
    bounded.texts(content["classes"], f"{where}: classes")
    try:
        check_temperature({"value": content.get("temperature", 1.0)})  # which earlier exports do not name
    except ValueError as error:
        raise ValueError(f"{where} is {error}") from error
    if not isinstance(content["backbone"], str) or not isinstance(content["encoder"].get("weights"), str):
        raise ValueError(f"{where}: backbone and encoder.weights have to be texts")
    return content


def check_files(folder: Path, hashes: Mapping[str, Any]) -> None:
    """Compares the files of a folder with their hashes.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: one has another content, or no plain name.
    """
    for name, wanted in hashes.items():
        if name not in (ENCODER, LEARNED, "class_vectors.safetensors"):
            raise ValueError(f"{bounded.named(folder / DESCRIPTION)} names a file {bounded.shown(name)}, none of ours")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{bounded.named(folder)} is not whole: {name} is missing; copy all of its files")
        if files.content_digest(folder / name) != wanted:
            raise ValueError(
                f"{bounded.named(folder / name)} is damaged: its hash is not that of {DESCRIPTION}; export it again"
            )


def _encoder(folder: Path, description: Mapping[str, Any]) -> Clip:
    """The frozen encoder, from the folder or, of a slim one, by its name.

    Raises:
        ValueError: the weights of that name are others than those that the folder was exported with.
    """
    from promptkd.model.class_vectors import weights_hash
    from promptkd.model.image_side import encoder_of
    from promptkd.model.zoo import load_clip
    from promptkd.tensors import read_safetensors

    if ENCODER in description["files"]:
        tensors = read_safetensors(folder / ENCODER)[0]
        return encoder_of(tensors, description["architecture"], str(folder / ENCODER))
    clip = load_clip(description["backbone"], text=False)
    wanted = description["encoder"]["weights"]
    if (got := weights_hash(clip.visual)) != wanted:
        raise ValueError(
            f"{bounded.named(folder)} is slim and wants the image encoder {wanted} of {description['backbone']}, "
            f"but the weights of that name here are {got}: give the file that it was trained with, or export without "
            "--slim"
        )
    return clip
