"""A finished run's checkpoint under the published key names, for the published code."""

from __future__ import annotations

from pathlib import Path


def write(run: Path, target: Path, epoch: int | None = None) -> Path:
    """Writes TARGET/<model name>/model.pth.tar-<epoch>, which holds what was learned, and returns its path.

    The published trainers load it with --model-dir TARGET --load-epoch <epoch>. Frozen CLIP weights, which they make
    anew, are left out.

    Args:
        run: directory of a finished run.
        target: `--model-dir` of the published code.
        epoch: checkpoint to export; None for the best, else the last.

    Raises:
        FileNotFoundError: no run there, or no checkpoint.
        FileExistsError: the file is there.
        ValueError: its method learns nothing, has what the published code has not, or was written for upstream and
            saves the published names itself.
    """
    from dassl.utils import save_checkpoint
    from promptkd.engine import checkpoints
    from promptkd.engine.runs import read_run

    source = read_run(run, epoch)
    if source.checkpoint is None:
        raise ValueError(f"{source.trainer} learns nothing: there is nothing to export")
    if "belongs_to" not in source.content:
        raise ValueError(f"{source.trainer} was written for upstream: its checkpoints have the published names already")
    if source.spec.projector_layers and source.spec.projector != "mlp":
        raise ValueError(f"the published code has no {source.spec.projector} projector: choose another --format")
    if source.spec.tune:
        raise ValueError(f"the published code knows no student with TUNE {source.spec.tune}: export another format")
    folder, content = source.checkpoint.parent.name, source.content
    if content.get("epoch") is None:  # it names the file; read_checkpoint has made sure that it is a whole number
        raise ValueError(f"{source.checkpoint} does not say its epoch: export another with --epoch")
    file = target / folder / f"model.pth.tar-{content['epoch']}"
    if file.exists():
        raise FileExistsError(f"{file} is there already: remove it, or give another directory")
    alone = folder == "prompt_learner"  # CoOp, CoCoOp and KgCoOp register the prompt learner, not the model
    state = {
        "state_dict": checkpoints.to_published(content["state_dict"], prompt_learner_only=alone),
        "epoch": content["epoch"],
        "optimizer": None,
        "scheduler": None,
        "val_result": content.get("val_result"),
    }
    save_checkpoint(state, str(file.parent))
    return file
