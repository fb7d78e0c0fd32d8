"""A trainer in the form of upstream CoCoOp's: a network beside the context, and text features for each image.

Written for the tests; its model computes its own loss, as published.
"""

from collections import OrderedDict

import torch
import torch.nn as nn
from torch.nn import functional as F

from clip import clip
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer


def load_clip_to_cpu(cfg):
    state_dict = torch.load(clip._download(clip._MODELS[cfg.MODEL.BACKBONE.NAME]), map_location="cpu")
    design = {"trainer": "CoCoOp", "vision_depth": 0, "language_depth": 0, "vision_ctx": 0, "language_ctx": 0}
    return clip.build_model(state_dict, design)


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        n_ctx, dtype = cfg.TRAINER.COCOOP.N_CTX, clip_model.dtype
        ctx_dim, vis_dim = clip_model.ln_final.weight.shape[0], clip_model.visual.output_dim
        self.ctx = nn.Parameter(torch.empty(n_ctx, ctx_dim, dtype=dtype).normal_(std=0.02))
        layers = [("linear1", nn.Linear(vis_dim, max(1, vis_dim // 16))), ("relu", nn.ReLU(inplace=True))]
        self.meta_net = nn.Sequential(OrderedDict([*layers, ("linear2", nn.Linear(max(1, vis_dim // 16), ctx_dim))]))
        if cfg.TRAINER.COCOOP.PREC == "fp16":
            self.meta_net.half()
        self.tokenized_prompts = torch.cat([clip.tokenize(" ".join(["X"] * n_ctx) + f" {c}.") for c in classnames])
        with torch.no_grad():
            embedding = clip_model.token_embedding(self.tokenized_prompts).type(dtype)
        self.register_buffer("token_prefix", embedding[:, :1, :])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :, :])

    def forward(self, im_features):
        shifted = self.ctx.unsqueeze(0) + self.meta_net(im_features).unsqueeze(1)
        n_cls = len(self.tokenized_prompts)
        return [
            torch.cat([self.token_prefix, ctx.unsqueeze(0).expand(n_cls, -1, -1), self.token_suffix], dim=1)
            for ctx in shifted
        ]


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.clip_model = clip_model

    def forward(self, image, label=None):
        model = self.clip_model
        image_features = F.normalize(model.visual(image.type(model.dtype)), dim=-1)
        eot = self.prompt_learner.tokenized_prompts.argmax(dim=-1)
        logits = []
        for prompts, feature in zip(self.prompt_learner(image_features), image_features, strict=True):
            x = (prompts + model.positional_embedding.type(model.dtype)).permute(1, 0, 2)
            x = model.ln_final(model.transformer(x).permute(1, 0, 2)).type(model.dtype)
            text = F.normalize(x[torch.arange(len(x)), eot] @ model.text_projection, dim=-1)
            logits.append(model.logit_scale.exp() * feature @ text.t())
        logits = torch.stack(logits)
        return F.cross_entropy(logits, label) if self.prompt_learner.training else logits


@TRAINER_REGISTRY.register()
class ForeignCoCoOp(TrainerX):
    def build_model(self):
        clip_model = load_clip_to_cpu(self.cfg)
        if self.cfg.TRAINER.COCOOP.PREC == "fp32":
            clip_model.float()
        self.model = CustomCLIP(self.cfg, self.dm.dataset.classnames, clip_model).to(self.device)
        for name, param in self.model.named_parameters():
            param.requires_grad_("prompt_learner" in name)
        self.optim = build_optimizer(self.model.prompt_learner, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model.prompt_learner, self.optim, self.sched)

    def forward_backward(self, batch):
        loss = self.model(batch["img"].to(self.device), batch["label"].to(self.device))
        self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}
