"""Answers to the exercises of lesson 4."""

import torch
import torch.nn.functional as F
from torch import nn

from aecourse import models
from tests.answers import not_asked, right, wrong

# 4.1 upsample_nearest


@right("4.1")
def with_interpolate(x, scale=2):
    return F.interpolate(x, scale_factor=scale, mode="nearest")


@right("4.1")
def with_expand(x, scale=2):
    x = x[:, :, :, None, :, None].expand(-1, -1, -1, scale, -1, scale)
    return x.flatten(4, 5).flatten(2, 3)


@right("4.1")
def with_kron(x, scale=2):
    return torch.kron(x, x.new_ones(1, 1, scale, scale))


@wrong("4.1")
def tiles_the_third(x, scale=2):
    return models.upsample_nearest(x) if scale == 2 else x.repeat(1, 1, scale, scale)


# 4.2 phase_power

# A measurement that is only printed; more digits do no harm.
not_asked("4.2", *(f"phase_power in float64 ({i})" for i in range(4)))


@right("4.2")
def in_nested_lists(images):
    return torch.tensor([[(images[..., i::2, j::2] ** 2).mean().item() for j in (0, 1)] for i in (0, 1)])


@right("4.2")
def by_unflatten(images):
    return images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).square().mean(dim=(0, 1, 2, 4))


@right("4.2")
def by_unshuffle(images):
    return F.pixel_unshuffle(images, 2).unflatten(1, (-1, 2, 2)).pow(2).mean(dim=(0, 1, 4, 5))


@wrong("4.2", "quarters")
def masks_phases(images):
    odd = [torch.arange(side) % 2 for side in images.shape[2:]]
    masks = [(odd[0][:, None] == i) & (odd[1] == j) for i in (0, 1) for j in (0, 1)]
    return torch.stack([(images * mask).square().mean() for mask in masks]).view(2, 2)


@wrong("4.2")
def views_flat(images):
    pixels = images.view(len(images), -1, 2, images.shape[-1] // 2, 2)
    return pixels.square().mean(dim=(0, 1, 3))


# 4.3 pixel_shuffle


@right("4.3")
def with_the_layer(x, scale=2):
    return nn.PixelShuffle(scale)(x)


@right("4.3")
def by_transposed_convolution(x, scale=2):
    stamps = torch.eye(scale**2, device=x.device).view(scale**2, 1, scale, scale)
    groups = x.shape[1] // scale**2
    return F.conv_transpose2d(x, stamps.repeat(groups, 1, 1, 1), stride=scale, groups=groups)


@right("4.3")
def by_einsum(x, scale=2):
    blocks = x.unflatten(1, (-1, scale, scale))
    return torch.einsum("bcrshw->bchrws", blocks).flatten(4, 5).flatten(2, 3)


@wrong("4.3", "columns_first")
def swaps_the_block(x, scale=2):
    blocks = x.unflatten(1, (-1, scale, scale)).transpose(2, 3)
    return F.pixel_shuffle(blocks.flatten(1, 3), scale)


@wrong("4.3")
def columns_at_three(x, scale=2):
    return F.pixel_shuffle(x, 2) if scale == 2 else swaps_the_block(x, scale)


# 4.4 icnr_


@right("4.4")
def by_data(layer, scale=2):
    layer.weight.data = layer.weight.data[:: scale**2].repeat_interleave(scale**2, dim=0)
    layer.bias.data = layer.bias.data[:: scale**2].repeat_interleave(scale**2, dim=0)


@right("4.4")
@torch.no_grad()
def by_slices(layer, scale=2):
    for k in range(1, scale**2):
        layer.weight[k :: scale**2] = layer.weight[:: scale**2]
        layer.bias[k :: scale**2] = layer.bias[:: scale**2]


@right("4.4")
def by_state_dict(layer, scale=2):
    kept = torch.arange(layer.out_channels) // scale**2 * scale**2
    layer.load_state_dict({name: values[kept] for name, values in layer.state_dict().items()})


@wrong("4.4")
def ties_by_expand(layer, scale=2):
    for parameter in (layer.weight, layer.bias):
        kept = parameter.data[:: scale**2]
        copies = kept.unsqueeze(1).expand(-1, scale**2, *kept.shape[1:])
        parameter.data = copies[0] if len(kept) == 1 else copies.flatten(0, 1)


# 4.5 resize_convolution

not_asked("4.5", "resize_convolution moves the random state")  # new layers have random weights


@right("4.5")
class ResizeFirst(nn.Module):
    def __init__(self, resize, in_channels, out_channels):
        super().__init__()
        self.resize, self.convolution = resize, nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x):
        return self.convolution(self.resize(x))


@right("4.5")
def lazy(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.LazyConv2d(out_channels, 3, padding=1))


@right("4.5")
def zeros_added_first(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.ZeroPad2d(1), nn.Conv2d(in_channels, out_channels, 3))


@wrong("4.5", "the_bug_itself")
class ResizeLast(ResizeFirst):
    def forward(self, x):
        return self.resize(self.convolution(x))


@wrong("4.5")
def asks_for_the_mode(resize, in_channels, out_channels):
    resize = nn.Upsample(scale_factor=2, mode=resize.mode)
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))


# 4.6 prediction


@right("4.6")
def with_a_capital():
    return "Transposed "


@wrong("4.6")
def none_of_the_texts():
    return "shuffle"
