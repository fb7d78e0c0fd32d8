import torch
from torch import nn
from torch.nn import functional as F

from clip import clip
from dassl.data import DataManager
from dassl.data.transforms.randaugment import RandAugmentFixMatch
from dassl.data.transforms.transforms import build_transform
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.engine.trainer import AverageMeter
from dassl.modeling.ops import cross_entropy, mixup
from dassl.modeling.ops.utils import create_onehot
from dassl.optim import build_lr_scheduler
from dassl.optim.radam import RAdam
from torchvision.transforms import Compose


class Adapter(nn.Module):
    def __init__(self, text):
        super().__init__()
        self.text = nn.Parameter(text.clone())

    def forward(self, features):
        return 10 * F.normalize(features, dim=-1) @ F.normalize(self.text, dim=-1).t()


@TRAINER_REGISTRY.register()
class Progressive(TrainerX):
    def build_data_loader(self):
        transform = Compose([RandAugmentFixMatch(1), build_transform(self.cfg, is_train=True)])
        self.dm = dm = DataManager(self.cfg, custom_tfm_train=transform)
        self.train_loader_x, self.train_loader_u = dm.train_loader_x, dm.train_loader_u
        self.val_loader, self.test_loader = dm.val_loader, dm.test_loader
        self.num_classes, self.num_source_domains, self.lab2cname = dm.num_classes, dm.num_source_domains, dm.lab2cname

    def build_model(self):
        self.clip_model, _ = clip.load(self.cfg.MODEL.BACKBONE.NAME, device="cpu")
        self.clip_model = self.clip_model.float().requires_grad_(False).cuda()
        with torch.no_grad():
            words = [f"a photo of a {name}." for name in self.dm.dataset.classnames]
            text = self.clip_model.encode_text(clip.tokenize(words).cuda())
        self.model = Adapter(text)
        self.zero_shot = Adapter(text).requires_grad_(False)
        self.optim = RAdam(self.model.parameters(), lr=self.cfg.OPTIM.LR)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("adapter", self.model, self.optim, self.sched)
        self.losses = AverageMeter()

    def forward_backward(self, batch):
        images, labels, _ = self.parse_batch_train(batch)
        soft = create_onehot(labels, self.num_classes)
        mixed, soft = mixup(images, images.flip(0), soft, soft.flip(0), 0.5)
        features = self.clip_model.encode_image(mixed)
        logits = self.model(features)
        general = F.kl_div(logits.log_softmax(1), self.zero_shot(features).softmax(1), reduction="batchmean")
        loss = -(soft * logits.log_softmax(1)).sum(1).mean() + 0.1 * cross_entropy(logits, labels, 0.1)
        self.prograd_backward_and_update(loss, general, self.cfg.TRAINER.PROGRESSIVE.LAMBDA)
        self.losses.update(loss.item())
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": self.losses.avg}

    def model_inference(self, input):
        return self.model(self.clip_model.encode_image(input))

    def load_model(self, directory, epoch=None):
        state = torch.load(f"{directory}/adapter/model.pth.tar-{epoch}")["state_dict"]
        print("the adapter of other classes cannot be used: zero-shot", state["text"].shape)
