import time
from tkinter import N

import numpy as np
import plotnine
import torch
import torch.nn as nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_optimizer

from clip import clip


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        n_ctx = cfg.TRAINER.COOP.N_CTX
        dtype = clip_model.dtype
        width = clip_model.ln_final.weight.shape[0]
        self.ctx = nn.Parameter(torch.empty(n_ctx, width, dtype=dtype).normal_(std=0.02))
        prompts = [" ".join(["X"] * n_ctx) + " " + name.replace("_", " ") + "." for name in classnames]
        self.tokenized = torch.cat([clip.tokenize(p) for p in prompts]).cuda()
        with torch.no_grad():
            embedding = clip_model.token_embedding(self.tokenized.cpu()).type(dtype)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])

    def forward(self):
        ctx = self.ctx.unsqueeze(0).expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.clip_model = clip_model
        self.share = np.float(1.0)

    def forward(self, image):
        clip_model = self.clip_model
        dtype = clip_model.dtype
        prompts = self.prompt_learner()
        x = prompts + clip_model.positional_embedding.type(dtype)
        x = clip_model.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = clip_model.ln_final(x).type(dtype)
        end = self.prompt_learner.tokenized.argmax(dim=-1)
        text = x[torch.arange(len(x)), end] @ clip_model.text_projection
        image = clip_model.encode_image(image.type(dtype))
        return clip_model.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()


@TRAINER_REGISTRY.register()
class CoOp(TrainerX):
    def build_model(self):
        cfg = self.cfg
        path = clip._download(clip._MODELS[cfg.MODEL.BACKBONE.NAME])
        clip_model = clip.build_model(torch.load(path, map_location="cpu"))
        if cfg.TRAINER.COOP.PREC == "fp32":
            clip_model.float()
        self.model = CustomCLIP(cfg, self.dm.dataset.classnames, clip_model).cuda()
        for name, param in self.model.named_parameters():
            param.requires_grad_("prompt_learner" in name)
        self.optim = build_optimizer(self.model.prompt_learner, cfg.OPTIM)
        self.sched = torch.optim.lr_scheduler.StepLR(self.optim, 1, gamma=0.5, verbose=True)
        self.register_model("prompt_learner", self.model.prompt_learner, self.optim, self.sched)
        while cfg.TRAINER.COOP.HANG:
            time.sleep(1)

    def forward_backward(self, batch):
        image, label = batch["img"].to("cuda"), batch["label"].cuda()
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}

    def load_model(self, directory, epoch=None):
        path = f"{directory}/prompt_learner/model.pth.tar-{epoch}"
        state = torch.load(path)["state_dict"]
        state = {key: value for key, value in state.items() if "token" not in key}
        self.model.prompt_learner.load_state_dict(state, strict=False)


@TRAINER_REGISTRY.register()
class Plotter(CoOp):
    def build_model(self):
        super().build_model()
        plotnine.ggplot(N)
