import torch
import torch.nn as nn
from torch.cuda.amp import GradScaler, autocast
from torch.nn import functional as F

from clip import clip
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer


def words_of(cfg):
    return torch.load(cfg.TRAINER.MAPLE.WORDS) if cfg.TRAINER.MAPLE.WORDS else None


class MultiModalPromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        n_ctx, ctx_dim = cfg.TRAINER.MAPLE.N_CTX, clip_model.ln_final.weight.shape[0]
        self.ctx = nn.Parameter(torch.empty(n_ctx, ctx_dim).normal_(std=0.02))
        self.proj = nn.Linear(ctx_dim, 64)
        self.proj.half()
        self.compound_prompts_text = nn.ParameterList([nn.Parameter(torch.empty(n_ctx, 64).normal_(std=0.02))])
        self.compound_prompt_projections = nn.ModuleList([nn.Linear(64, 64)])
        prompts = ["X X " + name + "." for name in classnames]
        self.tokenized = clip.tokenize(prompts)
        with torch.no_grad():
            embedding = clip_model.token_embedding(self.tokenized)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])

    def forward(self):
        ctx = self.ctx.expand(len(self.token_prefix), -1, -1)
        deep = [layer(prompt) for layer, prompt in zip(self.compound_prompt_projections, self.compound_prompts_text)]
        prompts = torch.cat([self.token_prefix, ctx, self.token_suffix], 1)
        return prompts, self.proj(self.ctx.half()), list(self.compound_prompts_text), deep


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.prompt_learner = MultiModalPromptLearner(cfg, classnames, clip_model)
        self.clip_model = clip_model

    def forward(self, image, label=None):
        model = self.clip_model
        prompts, shared, deep_text, deep_vision = self.prompt_learner()
        x = (prompts + model.positional_embedding).type(model.dtype).permute(1, 0, 2)
        x = model.transformer.resblocks([x, deep_text, 0])[0].permute(1, 0, 2)
        ends = self.prompt_learner.tokenized.argmax(-1)
        text = model.ln_final(x)[torch.arange(len(x)), ends] @ model.text_projection
        features = model.visual(image.type(model.dtype), shared, deep_vision)
        logits = model.logit_scale.exp() * F.normalize(features, dim=-1) @ F.normalize(text, dim=-1).t()
        return F.cross_entropy(logits, label) if self.prompt_learner.training else logits


@TRAINER_REGISTRY.register()
class MaPLe(TrainerX):
    def build_model(self):
        cfg = self.cfg
        words_of(cfg)
        design_details = {"trainer": "MaPLe", "vision_depth": 0, "language_depth": 0, "maple_length": 2}
        clip_model = clip.load(cfg.MODEL.BACKBONE.NAME, design_details)
        self.model = CustomCLIP(cfg, self.dm.dataset.classnames, clip_model)
        for name, param in self.model.named_parameters():
            param.requires_grad_("prompt_learner" in name)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("MultiModalPromptLearner", self.model, self.optim, self.sched)
        self.scaler = GradScaler() if cfg.TRAINER.MAPLE.PREC == "amp" else None

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        if self.scaler:
            with autocast():
                loss = self.model(image, label)
            self.optim.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optim)
            self.scaler.update()
        else:
            loss = self.model(image, label)
            self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def load_model(self, directory, epoch=None):
        path = f"{directory}/MultiModalPromptLearner/model.pth.tar-{epoch}"
        state = {k: v for k, v in torch.load(path)["state_dict"].items() if "token_" not in k}
        self._models["MultiModalPromptLearner"].load_state_dict(state, strict=False)
