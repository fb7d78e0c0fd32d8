"""Single files of upstream's form: their classes may have our names, and a clip/ beside them is theirs alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from promptkd.home import ROOT

TRAINER = """
from clip import clip
from clip.model import WHOSE
from dassl.engine import TRAINER_REGISTRY, TrainerX
from .coop import load_clip_to_cpu

@TRAINER_REGISTRY.register()
class CoOp(TrainerX):
    whose = (clip.WHOSE, WHOSE, load_clip_to_cpu.__module__)
"""
DATASET = """
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase
from .oxford_pets import OxfordPets

@DATASET_REGISTRY.register()
class EuroSAT(DatasetBase):
    read = OxfordPets.read_split
"""
CODE = """
import sys, warnings
warnings.simplefilter("ignore")
import clip
from promptkd import guests
guests.register()
for name in ("own", "again"):
    module = guests.import_file(f"{folder}/{name}.py")
    print(module.CoOp.whose)
guests.import_file(f"{folder}/aaa.py", "datasets")
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
print(sorted(name for name in TRAINER_REGISTRY.registered_names() if name.endswith(".CoOp")))
print(TRAINER_REGISTRY.get("CoOp").__module__, TRAINER_REGISTRY.get("own.CoOp").__module__)
print(DATASET_REGISTRY.get("EuroSAT").__module__, DATASET_REGISTRY.get("aaa.EuroSAT").__module__)
print(sys.modules["clip"] is clip, sys.modules["clip"] is sys.modules["promptkd.clip"], hasattr(clip.clip, "WHOSE"))
"""


def test_a_file_keeps_its_names_and_its_clip(tmp_path: Path):
    (tmp_path / "clip").mkdir()
    for name in ("__init__", "clip", "model"):
        (tmp_path / f"clip/{name}.py").write_text("WHOSE = 'theirs'\n")
    for name in ("own", "again"):
        (tmp_path / f"{name}.py").write_text(TRAINER)
    (tmp_path / "aaa.py").write_text(DATASET)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "toolkit")])}
    code = CODE.replace("{folder}", str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert "('theirs', 'theirs', " in lines[0] and "('theirs', 'theirs', " in lines[1]
    assert lines[2:] == [
        "['again.CoOp', 'own.CoOp']",
        "promptkd.trainers.coop promptkd.trainers.own",
        "promptkd.datasets.eurosat promptkd.datasets.aaa",
        "True True False",
    ]
