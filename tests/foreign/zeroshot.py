"""A trainer in the form of upstream CoOp's zsclip.py: it takes its loader from `.coop`, and learns nothing.

Written for the tests; nothing of it knows PromptTrainer.
"""

import torch
from torch.nn import functional as F

from clip import clip
from clip.model import convert_weights
from dassl.engine import TRAINER_REGISTRY, TrainerX

from .coop import load_clip_to_cpu
from .imagenet_templates import IMAGENET_TEMPLATES, IMAGENET_TEMPLATES_SELECT

COUNTS = len(IMAGENET_TEMPLATES), len(IMAGENET_TEMPLATES_SELECT)


@TRAINER_REGISTRY.register()
class ForeignZeroshot(TrainerX):
    def build_model(self):
        names = [name.replace("_", " ") for name in self.dm.dataset.classnames]
        self.clip_model = load_clip_to_cpu(self.cfg)
        for param in self.clip_model.parameters():
            param.requires_grad_(False)
        self.clip_model.to(self.device)
        convert_weights(self.clip_model)
        total = 0
        for template in [*IMAGENET_TEMPLATES_SELECT, "a centered satellite photo of {}."]:
            ids = torch.cat([clip.tokenize(template.format(name)) for name in names]).to(self.device)
            total = total + F.normalize(self.clip_model.encode_text(ids), dim=-1)
        self.text_features = F.normalize(total / len(IMAGENET_TEMPLATES_SELECT), dim=-1)

    def model_inference(self, image):
        features = F.normalize(self.clip_model.encode_image(image), dim=-1)
        return self.clip_model.logit_scale.exp() * features @ self.text_features.t()
