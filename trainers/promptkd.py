"""PromptKD: unsupervised prompt distillation (Li et al., CVPR 2024, arXiv 2403.02781)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from dassl.engine import TRAINER_REGISTRY
from promptkd.engine.evaluator import check_input
from promptkd.model.class_vectors import FILE_NAME, ClassVectors, cosine_logits, template_features
from promptkd.model.prompting import encode_image
from promptkd.model.prompts import StudentPrompts
from promptkd.model.templates import dataset_template, ensemble_templates
from promptkd.model.zoo import load_clip
from promptkd.teacher import cache as teacher_cache
from promptkd.teacher.teacher import Teacher, class_note, load_teacher

from .base import PromptTrainer
from .promptsrc import mean_kl


@TRAINER_REGISTRY.register()
class PromptKD(PromptTrainer):
    """A student learns visual prompts and a projector, so that its probabilities match the teacher's."""

    registered_name = "VLPromptLearner"
    transductive = True
    needs_text = False
    needs_labels = False

    @staticmethod
    def defaults() -> CfgNode:
        return CfgNode(
            {
                "N_CTX_VISION": 4,
                "PROMPT_DEPTH_VISION": 9,
                "PROJECT_LAYER": 2,
                "KD_WEIGHT": 1000.0,
                "TEMPERATURE": 1.0,
                "CE_WEIGHT": 0.0,  # exists in published recipes; labels never enter
                "PREC": "fp16",
                "TEACHER": "",  # a run's directory, a published .pth.tar, or a CLIP name; "" is the published place
                "TEACHER_NAME": "ViT-L/14",  # CLIP of a published checkpoint
                "N_CTX_TEXT": 4,  # context of the teacher, which its checkpoint tells: published recipes give it
                "PROMPT_DEPTH_TEXT": 9,
                "CTX_INIT": "a photo of a",
                "UNLABELLED": "all",  # classes whose images train in base2novel: "all" (as published) or "base"
                "EVALUATE_TEACHER": True,
                # The teacher's features of training images, kept on disk (docs/teacher-cache.md): "" is off, "exact"
                # changes no number, "views" has few views of an image come again, an approximation.
                "TEACHER_CACHE": "",
                "CACHE_VIEWS": 4,  # K of "views": epoch e has the views of epoch e % K, in an order of its own
                "CACHE_DIR": "",  # shared by runs; "" is ~/.cache/promptkd/teacher
                "CACHE_GB": 20.0,  # of all that is in it; above, the least recently used that no run uses goes
            }
        )

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        options = cfg.TRAINER.PROMPTKD
        if options.CE_WEIGHT:
            raise ValueError(f"CE_WEIGHT {options.CE_WEIGHT}: PromptKD learns without labels, set it to 0")
        if options.TEMPERATURE <= 0:
            raise ValueError(f"TRAINER.PROMPTKD.TEMPERATURE {options.TEMPERATURE}: set it above 0 (1 as published)")
        if cfg.TRAINER.MODAL not in ("base2novel", "cross"):
            raise ValueError(f"TRAINER.MODAL {cfg.TRAINER.MODAL!r}: choose base2novel or cross")
        if options.UNLABELLED not in ("all", "base"):
            raise ValueError(f"TRAINER.PROMPTKD.UNLABELLED {options.UNLABELLED!r}: choose all or base")
        teacher_cache.check_options(cfg)

    def build_data_loader(self) -> None:
        """Trains on the images of all classes, whatever SUBSAMPLE_CLASSES says, unless UNLABELLED is base."""
        run = self.cfg
        own = run.TRAINER.PROMPTKD.UNLABELLED if run.TRAINER.MODAL == "base2novel" else "all"
        self.cfg = run.clone()
        self.cfg.defrost()
        self.cfg.DATASET.SUBSAMPLE_CLASSES = own
        self.transductive = own == "all"
        super().build_data_loader()
        self.cfg = run

    def reported_groups(self) -> list[str]:
        return ["base", "new"] if self.cfg.TRAINER.MODAL == "base2novel" else ["all"]

    def template(self) -> str:
        return self.vectors.source.get("template", "")

    def protocol(self) -> str:
        return "base2new" if self.cfg.TRAINER.MODAL == "base2novel" else "cross"

    def learned_on(self) -> str | None:
        """The data set of the teacher, as the student has no labels. None where it is not known, or learned nothing."""
        return self.vectors.source.get("dataset")

    def labelled_shots(self) -> int:
        """In the few-shot protocol the teacher's; elsewhere the student's own images, which it uses without labels."""
        shots = self.vectors.source.get("shots") if self.cfg.PROTOCOL == "fewshot" else None
        return int(shots) if shots else self.cfg.DATASET.NUM_SHOTS

    def build_prompts(self, options: CfgNode, clip: nn.Module, classnames: Sequence[str]) -> StudentPrompts:
        """The teacher comes first: its class vectors give the projector its size."""
        stored = Path(self.cfg.MODEL_DIR) / FILE_NAME
        self.teacher, self.teacher_metrics, self.cache = None, None, None
        self.teacher_images = {"read": 0, "computed": 0}
        if self.cfg.EVAL_ONLY and stored.is_file():
            self.vectors = ClassVectors.load(stored).select(self.all_classnames)
        else:
            self.teacher = self.find_teacher()
            self.vectors = self.teacher.class_vectors
        self.vectors = self.vectors.to(self.device)
        return self.rebuild_prompts(options, clip, self.vectors)

    @classmethod
    def rebuild_prompts(cls, options: CfgNode, clip: nn.Module, vectors: ClassVectors) -> StudentPrompts:
        depth, n_layers = options.PROMPT_DEPTH_VISION, options.PROJECT_LAYER
        return StudentPrompts(clip, vectors.features.shape[1], options.N_CTX_VISION, depth, n_layers)

    def find_teacher(self) -> Teacher:
        """The teacher that the options name.

        Raises:
            FileNotFoundError: none is named and the published place is empty.
            ValueError: it does not fit; the message says why.
        """
        cfg, options = self.cfg, self.options
        source = options.TEACHER
        if not source:
            published = {"base2novel": f"{cfg.DATASET.NAME}/VLPromptLearner/model-best.pth.tar"}
            place = published.get(cfg.TRAINER.MODAL, "ImageNet-xd/VLPromptLearner_large/model.pth.tar-20")
            source = str(Path("teacher_model") / place)
            if not Path(source).is_file():
                raise FileNotFoundError(
                    f"no teacher: set TRAINER.PROMPTKD.TEACHER to a PromptSRC run's directory, a published .pth.tar or "
                    f"a CLIP name, or put the published teacher at {source}"
                )
        templates = [cfg.TEMPLATE] if cfg.TEMPLATE else ensemble_templates(cfg.DATASET.NAME)
        print(f"Loading teacher {source}")
        # Of published data sets it is known: their cross setting has other classes on purpose.
        own = getattr(self.dm.dataset, "image_wrapper", None)  # a user's own images have one
        if own and (note := class_note(source, self.all_classnames)):
            print(note)
        teacher = load_teacher(
            source, options.TEACHER_NAME, self.all_classnames, templates, options.CTX_INIT, self.precision
        )
        check_input(cfg, teacher.clip, f"teacher {teacher.description['backbone']}")
        self.compile(teacher.clip)
        shape = (teacher.prompts.n_text, teacher.prompts.depth_text)
        if teacher.prompts.n_text and shape != (options.N_CTX_TEXT, options.PROMPT_DEPTH_TEXT):
            print(
                f"The teacher has {shape[0]} context tokens, depth {shape[1]}; "
                f"N_CTX_TEXT {options.N_CTX_TEXT} and PROMPT_DEPTH_TEXT {options.PROMPT_DEPTH_TEXT} are not used"
            )
        return teacher

    def before_train(self) -> None:
        super().before_train()
        if self.options.TEACHER_CACHE:
            data, counts = self.train_loader_x.dataset, self.teacher_images
            self.cache = teacher_cache.open_cache(self.cfg, self.teacher, data, self.precision, self.seed, counts)
        measurable = self.options.EVALUATE_TEACHER and self.evaluation_loader is not None
        self.teacher_metrics = self.evaluate_teacher() if measurable else None

    def evaluate_teacher(self) -> dict[str, Any]:
        """Accuracy of the teacher and of the zero-shot student; warns where the teacher is worse."""
        print(f"Teacher {self.teacher.description['source']}, on the images it was not trained on:")
        teacher = self.evaluate(self.teacher.logits)
        print(f"Zero-shot student {self.cfg.MODEL.BACKBONE.NAME}:")
        clip = self.precision.store(load_clip(self.cfg.MODEL.BACKBONE.NAME))
        template = self.cfg.TEMPLATE or dataset_template(self.cfg.DATASET.NAME)
        with self.precision.autocast():
            text = template_features(clip, self.all_classnames, [template])  # (C, D)
        student = self.evaluate(lambda images: cosine_logits(encode_image(clip.visual, images), text, self.logit_scale))
        key = "hm" if "hm" in teacher else next(iter(teacher))
        pair = [m[key] if key == "hm" else m[key]["accuracy"] for m in (teacher, student)]
        if pair[0] < pair[1]:
            print(
                f"WARNING: the teacher ({key} {pair[0]:.1f} %) is worse than the zero-shot student ({pair[1]:.1f} %): "
                "distilling from it will make the student worse. Was it trained on this data set, with this backbone?"
            )
        return {"metrics": teacher, "zero_shot_student": student}

    def unlabelled_images(self) -> int:
        return len(self.train_loader_x.dataset)

    def teacher_result(self) -> dict[str, Any]:
        described = dict(self.vectors.source) if self.teacher is None else dict(self.teacher.description)
        return described | (self.teacher_metrics or {}) | ({"cache": self.cache.result()} if self.cache else {})

    def before_epoch(self) -> None:
        super().before_epoch()
        if self.cache:
            self.train_loader_x.dataset.set_epoch(self.seed, self.cache.start_epoch(self.epoch))

    def after_train(self) -> None:
        if self.cache:
            self.cache.finish(self.device)
        super().after_train()

    def run_state(self) -> dict[str, Any]:
        return super().run_state() | ({"teacher_images": dict(self.teacher_images)} if self.cache else {})

    def load_run_state(self, state: dict[str, Any]) -> None:
        super().load_run_state(state)
        self.teacher_images |= state.get("teacher_images", {})

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and, in the place of labels, which never enter, their numbers (B,) for the cache."""
        images, labels = super().parse_batch_train(batch)
        return images, batch["index"] if self.cache else labels

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The paper's equation 3, weighted; in the place of labels may be what `parse_batch_train` says."""
        student = self.logits(images, self.vectors.features)  # (B, C)
        if self.cache:
            features = self.cache.features(labels, images, self.teacher.image_features)  # (B, D)
            teacher = self.teacher.class_vectors.logits(features)  # (B, C)
        else:
            teacher = self.teacher.logits(images)
        return {"loss_kd": self.options.KD_WEIGHT * mean_kl(student, teacher, self.options.TEMPERATURE)}

    def class_vectors(self, classnames: Sequence[str]) -> ClassVectors:
        """The teacher's, which the student's features are compared to."""
        return self.vectors.select(classnames)
