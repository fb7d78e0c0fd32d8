"""Every key of a configuration but the methods' options: its meaning, its limits, its default where Dassl has none.

docs/options.md is made of this (promptkd.engine.options_page), and a configuration is checked by it before any data are
read (promptkd.engine.checks). The methods declare their options themselves (promptkd.engine.options).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptkd.data.benchmark import DATASET_KEYS, DOMAIN_TESTS
from promptkd.data.pools import OTHER_CLASSES
from promptkd.engine.limits import Limits

TRACKERS = ("tensorboard", "csv", "wandb", "mlflow")  # docs/trackers.md
FINAL_MODELS = ("last_step", "best_val", "best_on_test_as_published")
ON_POOL = "best_on_pool"  # of methods with a teacher
TRANSFORMS = (
    *("random_translation", "random_crop", "random_resized_crop", "random_flip"),
    *("imagenet_policy", "cifar10_policy", "svhn_policy", "randaugment"),
    *("colorjitter", "randomgrayscale", "gaussian_blur", "cutout", "normalize", "gaussian_noise", "instance_norm"),
)
SAMPLERS = ("RandomSampler", "SequentialSampler", "RandomClassSampler", "RandomDomainSampler", "SeqDomainSampler")
OPTIMISERS = ("sgd", "adam", "adamw", "amsgrad", "rmsprop", "radam")
LARGEST_SEED = 2**32 - 1
_OWN_MODELS = "of Dassl's own models, prompt trainers do not read it"


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        meaning: a line for the page of options.
        limits: what values it may have.
        default: its value where nobody gives one; None for a key of Dassl's, whose defaults are there.
    """

    meaning: str
    limits: Limits
    default: Any = None


def _key(meaning: str, **limits: Any) -> Key:
    return Key(meaning, Limits(**limits))


def _ours(default: Any, meaning: str, **limits: Any) -> Key:
    return Key(meaning, Limits(**limits), default)


OURS: dict[str, Key] = {
    "TEMPLATE": _ours(
        "", 'text with one {} of zero-shot CLIP, and of a plain CLIP as teacher; "" is the data set\'s own'
    ),
    "PROTOCOL": _ours(
        "", 'fewshot, cross or dg, where a run belongs to those tables and cannot know it; "": by the data',
        choices=("", "fewshot", "cross", "dg"), hint='choose fewshot, cross, dg or "" (told from the rest of the run)',
    ),
    "STRICT": _ours(False, "a key that is given and that this run does not read is an error, not a warning"),
    "LOGGER": _ours(
        "tensorboard",
        'where a run reports its numbers: tensorboard, csv, wandb, mlflow, several with commas; "" is nowhere',
        choices=TRACKERS, several=True,
    ),
    "EVAL_ONLY": _ours(False, "evaluate MODEL_DIR in place of training"),
    "MODEL_DIR": _ours("", "directory of the run to evaluate", path=True),
    "LOAD_EPOCH": _ours(-1, "its epoch; negative: the best where one was chosen, else the last", least=-1),
    "OPTIM.SCALE_LR_TO_BATCH": _ours(
        0, "batch size that LR is for: LR is multiplied by BATCH_SIZE / this; 0: LR as it is", least=0, most=1_000_000
    ),
    "TRAIN.ACCUMULATE": _ours(
        1, "parts of a batch that are computed one after the other, to save memory", least=1, most=1_000_000
    ),
    "DATALOADER.PREFETCH_FACTOR": _ours(2, "batches that each worker has ready", least=1, most=1000),
    "DATALOADER.DECODED_CACHE_GB": _ours(
        0.0, "decoded training images to keep, at most so many GiB a process; 0: none", least=0, most=100_000
    ),
    "DATALOADER.DECODED_CACHE_DIR": _ours("", 'where they are kept; "" is the system\'s temporary folder', path=True),
    "INPUT.DRAFT": _ours(
        0.0, "JPEGs are decoded at 1/2, 1/4 or 1/8 where both sides stay at least this x SIZE; 0: in full",
        least=1, most=100, or_zero=True, hint="images would be smaller than INPUT.SIZE, set 1 or more, or 0",
    ),
    "INPUT.ON_DEVICE": _ours(
        False, "training crops are resized, mirrored and normalised on the device, not by workers"
    ),
    "TRAIN.TEXT_CHUNK": _ours(
        0, "texts encoded at a time: 0 by the free memory, N, or -1 for all at once",
        least=-1, hint="give 0 (automatic), texts at a time, or -1",
    ),
    "MODEL.COMPILE": _ours(
        False, "torch.compile of the frozen image encoders, which costs a minute at the start"
    ),
    "TEST.TEMPERATURE": _ours(
        False, "a temperature is fitted on the validation images, and divides the logits of predictions"
    ),
    "TEST.OUTSIDE": _ours(
        "", "images of other things, which confidence is to tell from those of each class group: a folder, another "
        'data set, or shipped (those that Emoji ships); "": none',
    ),
    "TEST.ROBUST.ATTACK": _ours(
        "", 'accuracy under attack is measured too: pgd, or autoattack (and pgd beside it); "": none',
        choices=("", "pgd", "autoattack"), hint='choose pgd, autoattack or "" (none)',
    ),
    "TEST.ROBUST.EPS": _ours(
        (1.0, 4.0), "radii of the l_inf ball in pixels, in 1/255 (1 is one grey level)",
        entry=float, filled=True, least=0.1, most=64,
        hint="are they in 1/255? 1 and 4 are usual (not 0.0039, 0.0157); give numbers from 0.1 to 64, no 0: no attack",
    ),
    "TEST.ROBUST.STEPS": _ours(10, "steps of pgd", least=1, most=10_000),
    "TEST.ROBUST.ALPHA": _ours(0.0, "length of a step of pgd, in 1/255; 0: a quarter of the radius", least=0, most=64),
    "TEST.ROBUST.RANDOM_START": _ours(False, "pgd starts anywhere in the ball, not at the image"),
    "TEST.ROBUST.IMAGES": _ours(
        1000, "test images of each class group that are attacked, as many of each class; 0: all", least=0
    ),
    "TEST.ROBUST.CHECK": _ours(
        False, "measure also what shows masked gradients: one step, 10 and 100 steps, a radius of 16/255"
    ),
    "TEST.CORRUPT.KINDS": _ours(
        "", 'accuracy on corrupted images is measured too: all, or kinds separated by commas (docs/robustness.md)'
    ),
    "TEST.CORRUPT.SEVERITIES": _ours(
        (1, 2, 3, 4, 5), "strengths of each corruption", entry=int, filled=True, least=1, most=5
    ),
    "TEST.CORRUPT.IMAGES": _ours(
        1000, "test images of each class group that are corrupted, as many of each class; 0: all", least=0
    ),
    "TRAINER.MODAL": _ours(
        "base2novel", "PromptKD: base2novel (evaluates base and new) or cross (evaluates all classes)",
        choices=("base2novel", "cross"), hint="choose base2novel or cross",
    ),
    "POOL.IMBALANCE": _ours(
        1.0, "unlabelled images of the largest class to those of the smallest, a long tail drawn by the seed; 1: as "
        "they are", least=1, most=10_000,
    ),
    "POOL.DROP_CLASSES": _ours(
        0, "classes without any unlabelled image, drawn by the seed; they are tested all the same", least=0,
        most=1_000_000,
    ),
    "POOL.FOREIGN_SHARE": _ours(
        0.0, "share of the unlabelled images that show none of the classes, drawn by the seed and added", least=0,
        most=0.95,
    ),
    "POOL.FOREIGN_FROM": _ours(
        "", f'where they come from: a folder of images, {OTHER_CLASSES} (those of the data set that are not in the '
        'pool), or "": those that the data set ships, as Emoji does', path=True,
    ),
    "POOL.HELD_OUT": _ours(
        0.0, "share of the unlabelled images that do not train: on them a student is compared with its teacher, the "
        "same images for every seed; 0: none", least=0, most=0.5,
    ),
    "DATASET.SUBSAMPLE_CLASSES": _ours(
        "all", "classes whose images train: all, base or new; base also evaluates new", choices=("all", "base", "new")
    ),
}  # fmt: skip

_LIMITS = {"DOMAIN_TEST": Limits(choices=DOMAIN_TESTS)}
OF_DATASETS: dict[str, Key] = {
    f"DATASET.{name}": Key(meaning, _LIMITS.get(name, Limits()), default)
    for name, (default, meaning) in DATASET_KEYS.items()
}

_SAMPLING: dict[str, Key] = {
    "SAMPLER": _key(
        "order of training images: RandomSampler, SequentialSampler, RandomClassSampler, RandomDomainSampler, "
        "SeqDomainSampler; several processes need RandomSampler",
        choices=SAMPLERS,
    ),
    "BATCH_SIZE": _key("training images a step, of all processes together", least=1, most=1_000_000),
    "N_DOMAIN": _key("domains of a batch of RandomDomainSampler and SeqDomainSampler", least=0, most=1_000_000),
    "N_INS": _key("images of each class in a batch of RandomClassSampler", least=1, most=1_000_000),
}

DASSL: dict[str, Key] = {
    "VERSION": _key("of Dassl's configuration; nothing reads it", least=0),
    "OUTPUT_DIR": _key("directory of the run (`--output-dir`)", filled=True, path=True),
    "RESUME": _key("directory of the run to go on from, where it is not OUTPUT_DIR (`--resume`)", path=True),
    "SEED": _key(
        "of all random numbers (`--seed`); negative: not fixed", least=-(2**31), most=LARGEST_SEED,
        hint=f"give 0 to {LARGEST_SEED}, or -1 for numbers that are not fixed",
    ),
    "USE_CUDA": _key("compute on a GPU where there is one"),
    "VERBOSE": _key("show Dassl's full log and the configuration on the screen too; log.txt has them always"),
    "INPUT.SIZE": _key(
        "height and width of images, pixels; must be the model's", length=2, entry=int, least=1, most=8192
    ),
    "INPUT.INTERPOLATION": _key(
        "of resizing: bilinear, bicubic or nearest", choices=("bilinear", "bicubic", "nearest")
    ),
    "INPUT.TRANSFORMS": _key(
        f"of training images (`--transforms`): {', '.join(TRANSFORMS)}; applied in this order",
        entry=str, choices=TRANSFORMS,
    ),
    "INPUT.NO_TRANSFORM": _key("images as they are; prompt trainers refuse True"),
    "INPUT.PIXEL_MEAN": _key(
        "of normalize, by channel; must be the model's", length=3, entry=float, least=-10, most=10
    ),
    "INPUT.PIXEL_STD": _key("of normalize, by channel; must be the model's", length=3, entry=float, above=0, most=10),
    "INPUT.CROP_PADDING": _key("pixels around the image before random_crop", least=0, most=8192),
    "INPUT.RRCROP_SCALE": _key(
        "least and largest share of the image's area in random_resized_crop", length=2, entry=float, above=0, most=1
    ),
    "INPUT.CUTOUT_N": _key("holes of cutout", least=1, most=1000),
    "INPUT.CUTOUT_LEN": _key("their side, pixels", least=1, most=8192),
    "INPUT.GN_MEAN": _key("of gaussian_noise", least=-100, most=100),
    "INPUT.GN_STD": _key("of gaussian_noise", least=0, most=100),
    "INPUT.RANDAUGMENT_N": _key("operations of randaugment", least=0, most=100),
    "INPUT.RANDAUGMENT_M": _key("their strength", least=0, most=30),
    "INPUT.COLORJITTER_B": _key("brightness of colorjitter", least=0, most=100),
    "INPUT.COLORJITTER_C": _key("contrast of colorjitter", least=0, most=100),
    "INPUT.COLORJITTER_S": _key("saturation of colorjitter", least=0, most=100),
    "INPUT.COLORJITTER_H": _key("hue of colorjitter", least=0, most=0.5),
    "INPUT.RGS_P": _key("probability of randomgrayscale", least=0, most=1),
    "INPUT.GB_P": _key("probability of gaussian_blur", least=0, most=1),
    "INPUT.GB_K": _key("its kernel, pixels", least=1, most=1001, odd=True),
    "DATASET.ROOT": _key("folder that holds the data sets (`--root`); without one `data`", path=True),
    "DATASET.NAME": _key("registered name of the data set; the files of `configs/datasets` set it"),
    "DATASET.SOURCE_DOMAINS": _key(
        "of Dassl's data sets with domains (`--source-domains`); here it is DATASET.DOMAIN", entry=str
    ),
    "DATASET.TARGET_DOMAINS": _key(
        "of Dassl's data sets with domains (`--target-domains`); here it is DATASET.DOMAIN", entry=str
    ),
    "DATASET.NUM_LABELED": _key("labelled images, of semi-supervised data sets", least=-1),
    "DATASET.NUM_SHOTS": _key(
        "labelled training images a class; below 1: all", least=-1, most=1_000_000,
        hint="give labelled images a class, 1 or more, or 0 for all",
    ),
    "DATASET.VAL_PERCENT": _key("share of validation images in data sets that have none", least=0, most=1),
    "DATASET.STL10_FOLD": _key("of STL-10", least=-1),
    "DATASET.CIFAR_C_TYPE": _key("of CIFAR-C"),
    "DATASET.CIFAR_C_LEVEL": _key("of CIFAR-C", least=1),
    "DATASET.ALL_AS_UNLABELED": _key("add the labelled images to the unlabelled ones of semi-supervised data sets"),
    "DATALOADER.NUM_WORKERS": _key(
        "processes that read images; more than the cores are not started", least=0, most=10_000
    ),
    "DATALOADER.K_TRANSFORMS": _key("views of a training image; prompt trainers take 1", least=1, most=1000),
    "DATALOADER.RETURN_IMG0": _key("also the image without augmentation"),
    **{f"DATALOADER.TRAIN_X.{name}": key for name, key in _SAMPLING.items()},
    "DATALOADER.TRAIN_U.SAME_AS_X": _key(""),
    **{f"DATALOADER.TRAIN_U.{name}": Key("", key.limits) for name, key in _SAMPLING.items()},
    "DATALOADER.TEST.SAMPLER": _key(
        "order of test images", choices=("SequentialSampler",),
        hint="each test image counts once, in its place: set SequentialSampler",
    ),
    "DATALOADER.TEST.BATCH_SIZE": _key("test images at a time", least=1, most=1_000_000),
    "MODEL.INIT_WEIGHTS": _key("checkpoint whose learned tensors the prompts start from", path=True),
    "MODEL.BACKBONE.NAME": _key("the CLIP (`--backbone`): a name or a weight file", filled=True, path=True),
    "MODEL.BACKBONE.PRETRAINED": _key(_OWN_MODELS),
    "MODEL.HEAD.NAME": _key(""),
    "MODEL.HEAD.HIDDEN_LAYERS": _key("", entry=int, least=1, most=1_000_000),
    "MODEL.HEAD.ACTIVATION": _key("", filled=True),
    "MODEL.HEAD.BN": _key(""),
    "MODEL.HEAD.DROPOUT": _key("", least=0, below=1),
    "OPTIM.NAME": _key("sgd, adam, adamw, amsgrad, rmsprop or radam", choices=OPTIMISERS),
    "OPTIM.LR": _key("learning rate", above=0, most=100),
    "OPTIM.WEIGHT_DECAY": _key("L2 penalty; adamw decouples it", least=0, most=100),
    "OPTIM.MOMENTUM": _key("of sgd and rmsprop", least=0, below=1),
    "OPTIM.SGD_DAMPNING": _key("dampening of sgd's momentum", least=0, most=1, fraction=True),
    "OPTIM.SGD_NESTEROV": _key("Nesterov's momentum in sgd"),
    "OPTIM.RMSPROP_ALPHA": _key("smoothing of rmsprop", least=0, below=1),
    "OPTIM.ADAM_BETA1": _key("of adam, adamw, amsgrad, radam", least=0, below=1),
    "OPTIM.ADAM_BETA2": _key("of adam, adamw, amsgrad, radam", least=0, below=1),
    "OPTIM.STAGED_LR": _key("modules that are not in NEW_LAYERS learn at LR x BASE_LR_MULT"),
    "OPTIM.NEW_LAYERS": _key("of STAGED_LR: names among what is learned, as projector", entry=str),
    "OPTIM.BASE_LR_MULT": _key("of STAGED_LR", least=0, most=1000),
    "OPTIM.LR_SCHEDULER": _key(
        "cosine, single_step or multi_step, by epochs", choices=("cosine", "single_step", "multi_step")
    ),
    "OPTIM.STEPSIZE": _key(
        "single_step: epochs between two factors of GAMMA, not positive: never; multi_step: their epochs",
        entry=int, filled=True, least=-1, most=100_000,
    ),
    "OPTIM.GAMMA": _key("of the step schedules", above=0, most=1),
    "OPTIM.MAX_EPOCH": _key("epochs", least=1, most=100_000),
    "OPTIM.WARMUP_EPOCH": _key("epochs of warm-up before the schedule; not positive: none", least=-1, most=100_000),
    "OPTIM.WARMUP_TYPE": _key(
        "constant (WARMUP_CONS_LR) or linear (from WARMUP_MIN_LR to LR)", choices=("constant", "linear")
    ),
    "OPTIM.WARMUP_CONS_LR": _key("learning rate of a constant warm-up", above=0, most=100),
    "OPTIM.WARMUP_MIN_LR": _key("first learning rate of a linear warm-up", least=0, most=100),
    "OPTIM.WARMUP_RECOUNT": _key("the schedule counts its epochs from the end of the warm-up"),
    "TRAIN.CHECKPOINT_FREQ": _key(
        "keep the checkpoint of every Nth epoch beside the newest; 0: the newest alone", least=0, most=100_000
    ),
    "TRAIN.PRINT_FREQ": _key(
        "batches between two of Dassl's lines, which go to log.txt", least=1, most=2**31 - 1
    ),
    "TRAIN.COUNT_ITER": _key(
        "of Dassl's trainers with two lists of images, prompt trainers do not read it",
        choices=("train_x", "train_u", "smaller_one"),
    ),
    "TEST.EVALUATOR": _key("Dassl's evaluator", choices=("Classification",)),
    "TEST.PER_CLASS_RESULT": _key("also the mean accuracy over classes; results.json has each class's in any case"),
    "TEST.COMPUTE_CMAT": _key("write the confusion matrix to cmat.pt; of several class groups the last one's"),
    "TEST.NO_TEST": _key("train without an evaluation"),
    "TEST.SPLIT": _key(
        "images that are measured: test, or val, to compare configurations without a look at the test images",
        choices=("test", "val"),
    ),
    "TEST.FINAL_MODEL": _key(
        "the epoch that is evaluated and kept: last_step, best_val (by validation images), best_on_pool (by what the "
        "teacher says of POOL.HELD_OUT images, without labels) or best_on_test_as_published (by TEST images of the "
        "first class group, as the published PromptKD)",
    ),
    "TRAINER.NAME": _key("registered name of the method (`--trainer`)"),
}  # fmt: skip

KEYS: dict[str, Key] = OURS | OF_DATASETS | DASSL
# Sections whose keys share a line on the page of options.
SECTIONS = {
    "DATALOADER.TRAIN_U.*": "the same for a second, unlabelled list of images, which no data set here has",
    "MODEL.HEAD.*": _OWN_MODELS,
}
