"""Options that the published train.py declare, for trainer files that declare none themselves. Data."""

_DEEP = {"N_CTX_VISION": 2, "N_CTX_TEXT": 2, "CTX_INIT": "a photo of a", "PREC": "fp16"}
_DEEP |= {"PROMPT_DEPTH_VISION": 9, "PROMPT_DEPTH_TEXT": 9}

OPTIONS = {
    "COOP": {"N_CTX": 16, "CSC": False, "CTX_INIT": "", "PREC": "fp16", "CLASS_TOKEN_POSITION": "end", "W": 1.0},
    "COCOOP": {"N_CTX": 16, "CTX_INIT": "", "PREC": "fp16"},
    "VPT": {"N_CTX_VISION": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH_VISION": 1},
    "IVLP": _DEEP,
    "MAPLE": {"N_CTX": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9},
    "PROMPTSRC": _DEEP
    | {"N_CTX_VISION": 4, "N_CTX_TEXT": 4}
    | {"TEXT_LOSS_WEIGHT": 25.0, "IMAGE_LOSS_WEIGHT": 10.0, "GPA_MEAN": 15.0, "GPA_STD": 1.0},
}

# Sections beside TRAINER (ProGrad, arXiv 2205.14865).
SECTIONS = {"LOSS": {"GM": False, "NAME": "", "ALPHA": 0.0, "T": 1.0, "LAMBDA": 1.0}}
