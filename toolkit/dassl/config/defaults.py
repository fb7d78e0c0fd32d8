"""All keys with their defaults; a run's YAML and command line override them."""

from __future__ import annotations

from .node import ConfigNode as CN


def default_config() -> CN:
    """Build the tree anew, so that no run sees another's values."""
    cfg = CN()
    cfg.VERSION = 1
    cfg.OUTPUT_DIR = "./output"
    cfg.RESUME = ""  # directory of an earlier run to go on from
    cfg.SEED = -1  # negative: not fixed; 0 is a seed like any other
    cfg.USE_CUDA = True
    cfg.VERBOSE = True
    cfg.INPUT = _input()
    cfg.DATASET = _dataset()
    cfg.DATALOADER = _dataloader()
    cfg.MODEL = _model()
    cfg.OPTIM = _optim()
    cfg.TRAIN = CN({"CHECKPOINT_FREQ": 0, "PRINT_FREQ": 10, "COUNT_ITER": "train_x"})
    cfg.TEST = _test()
    cfg.TRAINER = CN({"NAME": ""})
    return cfg


def _input() -> CN:
    node = CN()
    node.SIZE = (224, 224)  # height, width
    node.INTERPOLATION = "bilinear"
    node.TRANSFORMS = ()
    node.NO_TRANSFORM = False
    node.PIXEL_MEAN = [0.485, 0.456, 0.406]
    node.PIXEL_STD = [0.229, 0.224, 0.225]
    node.CROP_PADDING = 4
    node.RRCROP_SCALE = (0.08, 1.0)
    node.CUTOUT_N = 1
    node.CUTOUT_LEN = 16
    node.GN_MEAN = 0.0
    node.GN_STD = 0.15
    node.RANDAUGMENT_N = 2
    node.RANDAUGMENT_M = 10
    node.COLORJITTER_B = 0.4
    node.COLORJITTER_C = 0.4
    node.COLORJITTER_S = 0.4
    node.COLORJITTER_H = 0.1
    node.RGS_P = 0.2  # probability of random greyscale
    node.GB_P = 0.5  # probability of Gaussian blur
    node.GB_K = 21  # its kernel size
    return node


def _dataset() -> CN:
    node = CN()
    node.ROOT = ""
    node.NAME = ""
    node.SOURCE_DOMAINS = ()
    node.TARGET_DOMAINS = ()
    node.NUM_LABELED = -1
    node.NUM_SHOTS = -1
    node.VAL_PERCENT = 0.1
    node.STL10_FOLD = -1
    node.CIFAR_C_TYPE = ""
    node.CIFAR_C_LEVEL = 1
    node.ALL_AS_UNLABELED = False
    return node


def _dataloader() -> CN:
    node = CN()
    node.NUM_WORKERS = 4
    node.K_TRANSFORMS = 1  # views of each training image
    node.RETURN_IMG0 = False  # also the image without augmentation
    train = {"SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16}
    node.TRAIN_X = CN(train)
    node.TRAIN_U = CN({"SAME_AS_X": True, **train})
    node.TEST = CN({"SAMPLER": "SequentialSampler", "BATCH_SIZE": 32})
    return node


def _model() -> CN:
    node = CN()
    node.INIT_WEIGHTS = ""
    node.BACKBONE = CN({"NAME": "", "PRETRAINED": True})
    node.HEAD = CN({"NAME": "", "HIDDEN_LAYERS": (), "ACTIVATION": "relu", "BN": True, "DROPOUT": 0.0})
    return node


def _optim() -> CN:
    node = CN()
    node.NAME = "adam"
    node.LR = 0.0003
    node.WEIGHT_DECAY = 5e-4
    node.MOMENTUM = 0.9
    node.SGD_DAMPNING = 0
    node.SGD_NESTEROV = False
    node.RMSPROP_ALPHA = 0.99
    node.ADAM_BETA1 = 0.9
    node.ADAM_BETA2 = 0.999
    node.STAGED_LR = False  # layers not in NEW_LAYERS learn at LR * BASE_LR_MULT
    node.NEW_LAYERS = ()
    node.BASE_LR_MULT = 0.1
    node.LR_SCHEDULER = "single_step"
    node.STEPSIZE = (-1,)  # not positive: never
    node.GAMMA = 0.1
    node.MAX_EPOCH = 10
    node.WARMUP_EPOCH = -1  # not positive: no warm-up
    node.WARMUP_TYPE = "linear"
    node.WARMUP_CONS_LR = 1e-5
    node.WARMUP_MIN_LR = 1e-5
    node.WARMUP_RECOUNT = True
    return node


def _test() -> CN:
    node = CN()
    node.EVALUATOR = "Classification"
    node.PER_CLASS_RESULT = False
    node.COMPUTE_CMAT = False
    node.NO_TEST = False
    node.SPLIT = "test"
    node.FINAL_MODEL = "last_step"  # or best_val
    return node
