"""A small convolutional tutor for assets/train_mini.py: it learns these pictures in minutes, where a ViT needs hours.

Transformers without a picture prior learn slowly from a few thousand pictures. The tutor (a small residual network) is
trained first, on the same pictures and words; the two CLIPs then learn from its feature maps and its soft answers too
(hints: Romero et al., FitNets, 2015; a convolutional tutor for ViTs: Touvron et al., DeiT, 2021). It is not kept: what
is bundled are two plain CLIPs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 192  # features and tokens of the tutor


class Residual(nn.Module):
    """Two 3x3 convolutions and a short cut; (B, i, S, S) -> (B, o, S / stride, S / stride)."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.second(self.first(maps)) + self.short(maps))


class Tutor(nn.Module):
    """Pictures (B, 3, 64, 64) -> features (B, 192), unit norm, and tokens (B, 16, 192) on the 4x4 patch grid."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.maps = nn.Sequential(stem, Residual(32, 48, 2), Residual(48, 96, 2), Residual(96, WIDTH, 2))
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(images.contiguous(memory_format=torch.channels_last))  # (B, 192, 4, 4)
        tokens = maps.flatten(2).transpose(1, 2)  # (B, 16, 192)
        return F.normalize(self.head(tokens.mean(1)), dim=-1), F.layer_norm(tokens, (WIDTH,))
