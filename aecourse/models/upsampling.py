"""Layers that enlarge maps (lesson 4)."""

import torch
from torch import nn


def upsample_nearest(x, scale=2):
    """Repeat every pixel scale times along both sides.

    x: (batch, channels, height, width). Returns (batch, channels, scale·height, scale·width), on the device of x.
    """
    return x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def pixel_shuffle(x, scale=2):
    """Turn scale² channels into one that is scale times as high and wide.

    x: (batch, channels·scale², height, width). Of each scale² channels in turn, the first goes to the
    upper left pixel of every block, the next to its right, row by row.
    Returns (batch, channels, scale·height, scale·width), on the device of x.
    """
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels // scale**2, scale, scale, height, width)
    return blocks.permute(0, 1, 4, 2, 5, 3).reshape(batch, -1, scale * height, scale * width)


def icnr_(layer, scale=2):
    """Make the scale² channels that pixel shuffle puts into one block equal, in place.

    layer: nn.Conv2d with channels·scale² output channels. The first of each scale² in turn keeps its
    weights and bias, the others get copies. Returns nothing.
    Source: Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017.
    """
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.copy_(parameter[:: scale**2].repeat_interleave(scale**2, dim=0))


def resize_convolution(resize, in_channels, out_channels):
    """Double height and width with resize, a module, and convolve with a kernel of 3×3 and a bias, keeping the size.

    Returns a module: (batch, in_channels, height, width) → (batch, out_channels, 2·height, 2·width).
    """
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))
