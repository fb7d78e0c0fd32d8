"""A convolution to which four smaller ones are added, weighted for each image."""

from __future__ import annotations

from torch import Tensor, nn

from .attention import Attention


class Conv2dDynamic(nn.Module):
    """DDG's dynamic convolution (arXiv 2205.13913, section 3.3): grouped, 1x1, kx1 and 1xk beside the whole one.

    Args:
        kernel_size: odd k of the whole convolution.
        padding: k // 2.
        squeeze: see `Attention`.
        attention_in_channels: channels of what the weights are computed from; None for `in_channels`.

    Raises:
        ValueError: an even kernel, or another padding: the five outputs would not be of one size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        bias: bool = True,
        squeeze: int | None = None,
        attention_in_channels: int | None = None,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or padding != kernel_size // 2:
            raise ValueError(f"kernel_size {kernel_size}, padding {padding}: the kernel is odd, the padding half of it")

        def part(size: tuple[int, int], groups: int = 1) -> nn.Conv2d:
            around = (size[0] // 2, size[1] // 2)
            return nn.Conv2d(in_channels, out_channels, size, stride, around, groups=groups, bias=bias)

        k = kernel_size
        self.conv = part((k, k))
        self.kernel_templates = nn.ModuleDict(
            {
                "conv_nn": part((k, k), min(in_channels, out_channels)),
                "conv_11": part((1, 1)),
                "conv_n1": part((k, 1)),
                "conv_1n": part((1, k)),
            }
        )
        self.attention = Attention(attention_in_channels or in_channels, len(self.kernel_templates), squeeze, bias)

    def forward(self, x: Tensor, attention_x: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H', W'); the weights are of `attention_x` where it is given."""
        weights = self.attention(x if attention_x is None else attention_x)  # (B, 4)
        output = self.conv(x)
        for weight, template in zip(weights.t(), self.kernel_templates.values(), strict=True):
            output = output + template(x) * weight[:, None, None, None]
        return output
