"""Lesson 4's exercises: wrong answers that are refused, right ones that are accepted."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aecourse.exercises import lesson04
from tests.gallery import Gallery, gallery_tests

nearest, power, shuffle, icnr, resizing, predict = galleries = [Gallery(f"4.{i}") for i in range(1, 7)]


# 4.1 upsample_nearest


@nearest.wrong("the whole image is tiled")
def tiles(x, scale=2):
    return x.repeat(1, 1, scale, scale)


@nearest.wrong("at scale=3, the enlargement of a grey image of 5×2 has the shape (1, 1, 10, 4)")
def doubles_whatever_the_scale(x, scale=2):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@nearest.wrong("has the shape (1, 2, 4, 3)")
def rows_only(x, scale=2):
    return x.repeat_interleave(scale, dim=2)


@nearest.wrong("has the shape (1, 4, 4, 3)")
def axes_counted_from_one(x, scale=2):
    return x.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


@nearest.wrong("has the shape (48,)")
def forgets_the_axis(x, scale=2):
    return x.repeat_interleave(scale**2)


@nearest.wrong("image itself")
def bilinear(x, scale=2):
    return F.interpolate(x, scale_factor=scale, mode="bilinear")


@nearest.wrong("pixels side by side in a block differ")
def leaves_zeros_between(x, scale=2):
    out = x.new_zeros(*x.shape[:2], scale * x.shape[2], scale * x.shape[3])
    out[..., ::scale, ::scale] = x
    return out


@nearest.wrong("one above the other in a block differ")
def leaves_rows_out(x, scale=2):
    out = x.new_zeros(*x.shape[:2], scale * x.shape[2], scale * x.shape[3])
    out[..., ::scale, :] = x.repeat_interleave(scale, dim=3)
    return out


@nearest.wrong("no gradient comes through")
def fills_without_gradient(x, scale=2):
    out = torch.zeros(*x.shape[:2], scale * x.shape[2], scale * x.shape[3])
    with torch.no_grad():
        for row in range(out.shape[2]):
            for column in range(out.shape[3]):
                out[..., row, column] = x[..., row // scale, column // scale]
    return out


@nearest.wrong("their gradients are 1 on average, not 9")
def detaches_the_copies(x, scale=2):
    out = lesson04.upsample_nearest(x, scale).detach()
    out[..., ::scale, ::scale] = x
    return out


@nearest.wrong("is a ndarray; a tensor is wanted")
def with_numpy(x, scale=2):
    return np.repeat(np.repeat(x.numpy(), scale, axis=2), scale, axis=3)


@nearest.wrong("torch.float32 come back as torch.float64")
def doubles_precision(x, scale=2):
    return lesson04.upsample_nearest(x.double(), scale)


@nearest.wrong("right for one image and wrong for three")
def repeats_the_first_image(x, scale=2):
    return lesson04.upsample_nearest(x[:1].expand_as(x), scale)


@nearest.wrong("is None. Is there a return?")
def forgets_to_return(x, scale=2):
    lesson04.upsample_nearest(x, scale)


@nearest.wrong("right at scale=2 and wrong at scale=3")
def tiles_the_third(x, scale=2):
    twice = lesson04.upsample_nearest(x)
    return twice if scale == 2 else x.repeat(1, 1, scale, scale)


@nearest.right
def with_interpolate(x, scale=2):
    return F.interpolate(x, scale_factor=scale, mode="nearest")


@nearest.right
def with_expand(x, scale=2):
    batch, channels, height, width = x.shape
    x = x[:, :, :, None, :, None].expand(-1, -1, -1, scale, -1, scale)
    return x.reshape(batch, channels, scale * height, scale * width)


@nearest.right
def with_kron(x, scale=2):
    return torch.kron(x, torch.ones(1, 1, scale, scale))


@nearest.right
def by_index(x, scale=2):
    rows, columns = (torch.arange(scale * side) // scale for side in x.shape[2:])
    return x[:, :, rows][..., columns]


@nearest.right
def fills_with_gradient(x, scale=2):
    out = x.new_zeros(*x.shape[:2], scale * x.shape[2], scale * x.shape[3])
    for row in range(scale):
        for column in range(scale):
            out[..., row::scale, column::scale] = x
    return out


# 4.2 phase_power


def phases(images):
    """The four phases, row by row."""
    return [images[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]


@power.wrong("rows and columns are swapped")
def columns_first(images):
    return lesson04.phase_power(images).T


@power.wrong("it is 36 times too large")
def sums(images):
    return torch.stack([phase.square().sum() for phase in phases(images)]).view(2, 2)


@power.wrong("these are means")
def means(images):
    return torch.stack([phase.mean() for phase in phases(images)]).view(2, 2)


@power.wrong("these are roots, or absolute values")
def absolute_values(images):
    return torch.stack([phase.abs().mean() for phase in phases(images)]).view(2, 2)


@power.wrong("have no power at all")
def standard_deviations(images):
    return torch.stack([phase.std() for phase in phases(images)]).view(2, 2)


@power.wrong("square each pixel before you average")
def squares_of_means(images):
    return torch.stack([phase.mean().square() for phase in phases(images)]).view(2, 2)


@power.wrong("is a list; a tensor is wanted")
def returns_a_list(images):
    return [[images[..., row::2, column::2].square().mean() for column in (0, 1)] for row in (0, 1)]


@power.wrong("it has the shape (4,)")
def flat(images):
    return torch.stack([phase.square().mean() for phase in phases(images)])


@power.wrong("it is 4 times too small")
def averages_over_the_image(images):
    return torch.stack([phase.square().sum() / images.numel() for phase in phases(images)]).view(2, 2)


@power.wrong("yours are 1, 9, 4, 0.")
def counts_from_one(images):
    return lesson04.phase_power(images.flip(-1, -2))


@power.wrong("yours are 3.83, 3.17, 3.83, 3.17.")
def quarters_of_the_image(images):
    height, width = images.shape[-2] // 2, images.shape[-1] // 2
    return images.square().unflatten(3, (2, width)).unflatten(2, (2, height)).mean(dim=(0, 1, 3, 5))


@power.wrong("has the shape (3, 2, 2, 2)")
def of_each_image(images):
    return torch.stack([phase.square().mean(dim=(2, 3)) for phase in phases(images)], dim=-1).unflatten(-1, (2, 2))


@power.wrong("right for one channel and wrong for three")
def first_channel(images):
    return lesson04.phase_power(images[:, :1])


@power.wrong("right for one image and wrong for four")
def first_image(images):
    return lesson04.phase_power(images[:1])


@power.wrong("changes its input in place")
def squares_in_place(images):
    return torch.stack([phase.square_().mean() for phase in phases(images)]).view(2, 2)


@power.wrong("Use .reshape(...) instead")
def views_flat(images):
    pixels = images.view(len(images), -1, 2, images.shape[-1] // 2, 2)
    return pixels.square().mean(dim=(0, 1, 3))


@power.right
def in_nested_lists(images):
    return torch.tensor([[(images[..., i::2, j::2] ** 2).mean().item() for j in (0, 1)] for i in (0, 1)])


@power.right
def by_unflatten(images):
    pixels = images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return pixels.square().mean(dim=(0, 1, 2, 4))


@power.right
def by_unshuffle(images):
    return F.pixel_unshuffle(images, 2).unflatten(1, (-1, 2, 2)).pow(2).mean(dim=(0, 1, 4, 5))


@power.right
def with_numpy_squares(images):
    squares = np.square(images.numpy())
    out = torch.zeros(2, 2, dtype=torch.float64)
    for row, column in np.ndindex(2, 2):
        out[row, column] = float(squares[:, :, row::2, column::2].mean())
    return out


# 4.3 pixel_shuffle


def shuffled(x, scale, *order):
    """Blocks brought into the order, which is (0, 1, 4, 2, 5, 3) where it is right."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels // scale**2, scale, scale, height, width)
    return blocks.permute(order).reshape(batch, -1, scale * height, scale * width)


@shuffle.wrong("a reshape alone does not put channels side by side")
def reshapes_alone(x, scale=2):
    batch, channels, height, width = x.shape
    return x.reshape(batch, channels // scale**2, scale * height, scale * width)


@shuffle.wrong("column by column; row by row is wanted")
def column_by_column(x, scale=2):
    return shuffled(x, scale, 0, 1, 4, 3, 5, 2)


@shuffle.wrong("the channels in the upper left block are [0, 0, 0, 0]")
def whole_images_side_by_side(x, scale=2):
    return shuffled(x, scale, 0, 1, 2, 4, 3, 5)


@shuffle.wrong("the channels in the upper left block are [0, 1, 0, 1]")
def block_row_before_image_row(x, scale=2):
    return shuffled(x, scale, 0, 1, 2, 4, 5, 3)


@shuffle.wrong("the channels in the upper left block are [0, 0, 2, 2]")
def block_column_before_image_column(x, scale=2):
    return shuffled(x, scale, 0, 1, 4, 2, 3, 5)


@shuffle.wrong("not the four channels of one place")
def transposes_the_image(x, scale=2):
    return shuffled(x, scale, 0, 1, 5, 2, 4, 3)


@shuffle.wrong("output channel 0 should be made of channels 0 to 3")
def block_before_channel(x, scale=2):
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, scale, scale, channels // scale**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, scale * height, scale * width)


@shuffle.wrong("(2, 9, 4, 6); (2, 4, 6, 9) is wanted")
def shuffles_by_two_only(x, scale=2):
    return lesson04.pixel_shuffle(x)


@shuffle.wrong("has the shape (1, 4, 2, 2)")
def enlarges_instead(x, scale=2):
    return lesson04.upsample_nearest(x, scale)


@shuffle.wrong("has the shape (1, 1, 1, 2, 1, 2)")
def forgets_the_last_reshape(x, scale=2):
    batch, channels, height, width = x.shape
    return x.reshape(batch, channels // scale**2, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)


@shuffle.wrong("no gradient comes through")
def fills_numbers(x, scale=2):
    return torch.tensor(lesson04.pixel_shuffle(x, scale).tolist(), device=x.device)


@shuffle.wrong("their gradients are 0.111 on average, not 1")
def fills_detached_numbers(x, scale=2):
    out = lesson04.pixel_shuffle(x, scale).detach().clone()
    out[..., ::scale, ::scale] = x[:, :: scale**2]
    return out


@shuffle.wrong("right for one image and wrong for three")
def mixes_the_images(x, scale=2):
    batch, channels, height, width = x.shape
    blocks = x.reshape(channels // scale**2, batch, scale, scale, height, width)
    return blocks.permute(1, 0, 4, 2, 5, 3).reshape(batch, -1, scale * height, scale * width)


@shuffle.wrong("right at scale=2 and wrong at scale=3")
def columns_at_three(x, scale=2):
    return shuffled(x, scale, *((0, 1, 4, 2, 5, 3) if scale == 2 else (0, 1, 4, 3, 5, 2)))


@shuffle.wrong("view size is not compatible")
def views_after_permute(x, scale=2):
    batch, channels, height, width = x.shape
    blocks = x.view(batch, channels // scale**2, scale, scale, height, width)
    return blocks.permute(0, 1, 4, 2, 5, 3).view(batch, -1, scale * height, scale * width)


@shuffle.wrong("view size is not compatible")
def views_batch_and_channels_as_one(x, scale=2):
    batch, channels, height, width = x.shape
    blocks = x.view(batch * channels // scale**2, scale, scale, height, width)
    return blocks.permute(0, 3, 1, 4, 2).reshape(batch, -1, scale * height, scale * width)


@shuffle.right
def with_the_layer(x, scale=2):
    return nn.PixelShuffle(scale)(x)


@shuffle.right
def phase_by_phase(x, scale=2):
    out = x.new_zeros(len(x), x.shape[1] // scale**2, scale * x.shape[2], scale * x.shape[3])
    for k in range(scale**2):
        out[:, :, k // scale :: scale, k % scale :: scale] = x[:, k :: scale**2]
    return out


@shuffle.right
def by_stacking(x, scale=2):
    rows = []
    for row in range(scale):
        pixels = torch.stack([x[:, row * scale + column :: scale**2] for column in range(scale)], dim=-1)
        rows.append(pixels.flatten(-2))
    return torch.stack(rows, dim=-2).flatten(-3, -2)


@shuffle.right
def by_transposed_convolution(x, scale=2):
    stamps = torch.eye(scale**2, device=x.device).view(scale**2, 1, scale, scale)
    groups = x.shape[1] // scale**2
    return F.conv_transpose2d(x, stamps.repeat(groups, 1, 1, 1), stride=scale, groups=groups)


@shuffle.right
def by_einsum(x, scale=2):
    blocks = x.unflatten(1, (-1, scale, scale))
    return torch.einsum("bcrshw->bchrws", blocks).flatten(4, 5).flatten(2, 3)


# 4.4 icnr_


@icnr.wrong("the biases of a block differ")
def forgets_the_bias(layer, scale=2):
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:: scale**2].repeat_interleave(scale**2, dim=0))


@icnr.wrong("should keep its bias; yours moves by")
def clears_the_bias(layer, scale=2):
    lesson04.icnr_(layer, scale)
    nn.init.zeros_(layer.bias)


@icnr.wrong("the layer has new parameters")
def replaces_the_parameters(layer, scale=2):
    for name in ("weight", "bias"):
        values = getattr(layer, name).detach()[:: scale**2].repeat_interleave(scale**2, dim=0)
        setattr(layer, name, nn.Parameter(values))


@icnr.wrong("channels 0 and 2 are equal, 0 and 1 are not")
def repeats_the_list(layer, scale=2):
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:: scale**2].repeat(scale**2, 1, 1, 1))
        layer.bias.copy_(layer.bias[:: scale**2].repeat(scale**2))


@icnr.wrong("all blocks have the same weights")
def one_channel_everywhere(layer, scale=2):
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))


@icnr.wrong("all weights are 0")
def clears_everything(layer, scale=2):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


@icnr.wrong("share memory")
def ties_by_expand(layer, scale=2):
    for parameter in (layer.weight, layer.bias):
        kept = parameter.data[:: scale**2]
        copies = kept.unsqueeze(1).expand(-1, scale**2, *kept.shape[1:])
        parameter.data = copies[0] if len(kept) == 1 else copies.flatten(0, 1)


@icnr.wrong("at scale=2, the first channel of each block should keep its weights")
def draws_new_weights(layer, scale=2):
    kernel = torch.empty(len(layer.weight) // scale**2, *layer.weight.shape[1:])
    nn.init.kaiming_uniform_(kernel, a=5**0.5)
    layer.weight.data.copy_(kernel.repeat_interleave(scale**2, dim=0))
    layer.bias.data.zero_()


@icnr.wrong("it returns a Conv2d")
def returns_a_new_layer(layer, scale=2):
    layer = copy.deepcopy(layer)
    lesson04.icnr_(layer, scale)
    return layer


@icnr.wrong("the weights are what they were")
def changes_a_copy(layer, scale=2):
    weight = layer.weight.detach().clone()
    weight[:] = weight[:: scale**2].repeat_interleave(scale**2, dim=0)


@icnr.wrong("the weight had the shape (8, 3, 3, 3) and now has (2, 3, 3, 3)")
def drops_the_others(layer, scale=2):
    layer.weight.data = layer.weight.data[:: scale**2]
    layer.bias.data = layer.bias.data[:: scale**2]


@icnr.wrong("the 4 channels of one block have different weights")
def copies_to_the_next_only(layer, scale=2):
    with torch.no_grad():
        layer.weight[1 :: scale**2] = layer.weight[:: scale**2]
        layer.bias[1 :: scale**2] = layer.bias[:: scale**2]


@icnr.wrong("at scale=3, the 9 channels of one block have different weights")
def fours_whatever_the_scale(layer, scale=2):
    lesson04.icnr_(layer)


@icnr.wrong("at scale=3, the biases of a block differ")
def bias_in_fours(layer, scale=2):
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:: scale**2].repeat_interleave(scale**2, dim=0))
        layer.bias.copy_(layer.bias[::4].repeat_interleave(4))


@icnr.wrong("should keep its weights; yours moves by")
def first_channels_not_every_fourth(layer, scale=2):
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.copy_(parameter[: len(parameter) // scale**2].repeat_interleave(scale**2, dim=0))


@icnr.wrong("should keep its weights; yours moves by")
def averages_the_block(layer, scale=2):
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            means = parameter.unflatten(0, (-1, scale**2)).mean(dim=1)
            parameter.copy_(means.repeat_interleave(scale**2, dim=0))


@icnr.wrong("the weight is not trained any more")
def freezes(layer, scale=2):
    layer.requires_grad_(False)
    lesson04.icnr_(layer, scale)


@icnr.wrong("the weight is no parameter any more")
def deletes_the_parameter(layer, scale=2):
    weight = layer.weight[:: scale**2].repeat_interleave(scale**2, dim=0)
    del layer.weight
    layer.weight = weight


@icnr.wrong("used in an in-place operation")
def forgets_no_grad(layer, scale=2):
    layer.weight.copy_(layer.weight[:: scale**2].repeat_interleave(scale**2, dim=0))


@icnr.right
def by_data(layer, scale=2):
    layer.weight.data = layer.weight.data[:: scale**2].repeat_interleave(scale**2, dim=0)
    layer.bias.data = layer.bias.data[:: scale**2].repeat_interleave(scale**2, dim=0)


@icnr.right
def channel_by_channel(layer, scale=2):
    for channel in range(len(layer.weight)):
        first = channel - channel % scale**2
        layer.weight.data[channel] = layer.weight.data[first]
        layer.bias.data[channel] = layer.bias.data[first]
    return layer


@icnr.right
@torch.no_grad()
def by_slices(layer, scale=2):
    for k in range(1, scale**2):
        layer.weight[k :: scale**2] = layer.weight[:: scale**2]
        layer.bias[k :: scale**2] = layer.bias[:: scale**2]


@icnr.right
def by_state_dict(layer, scale=2):
    kept = torch.arange(layer.out_channels) // scale**2 * scale**2
    layer.load_state_dict({name: values[kept] for name, values in layer.state_dict().items()})


# 4.5 resize_convolution


@resizing.wrong("the bug is still there: the output consists of 2×2 blocks")
def the_bug_itself(resize, in_channels, out_channels):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), resize)


@resizing.wrong("6×6 pixels become 10×10")
def no_padding(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3))


@resizing.wrong("6×6 pixels become 8×8")
def the_bug_without_padding(resize, in_channels, out_channels):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=3), resize)


@resizing.wrong("6×6 pixels become 24×24")
def enlarges_twice(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), resize)


@resizing.wrong("PyTorch finds 2 convolutions")
def convolves_on_both_sides(resize, in_channels, out_channels):
    before, after = (nn.Conv2d(a, out_channels, 3, padding=1) for a in (in_channels, out_channels))
    return nn.Sequential(before, resize, after)


@resizing.wrong("PyTorch finds 0 convolutions")
def transposed_convolution(resize, in_channels, out_channels):
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)


@resizing.wrong("as large as before: is resize used?")
def forgets_to_resize(resize, in_channels, out_channels):
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


@resizing.wrong("enlarge by the resize that it is given")
def nearest_whatever_is_given(resize, in_channels, out_channels):
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))


@resizing.wrong("has no attribute 'mode'")
def asks_for_the_mode(resize, in_channels, out_channels):
    resize = nn.Upsample(scale_factor=2, mode=resize.mode)
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))


@resizing.wrong("the kernel is (1, 1), not 3×3")
def kernel_one(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=1))


@resizing.wrong("the kernel is (5, 5), not 3×3")
def kernel_five(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=5, padding=2))


@resizing.wrong("has lost its bias")
def no_bias(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False))


@resizing.wrong("from enlarging and one convolution: what else is done?")
def adds_a_relu(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU())


@resizing.wrong("it returns a function; a module is wanted")
def returns_a_function(resize, in_channels, out_channels):
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
    return lambda x: convolution(resize(x))


@resizing.wrong("it returns a list")
def returns_a_list_of_layers(resize, in_channels, out_channels):
    return [resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)]


@resizing.wrong("it returns None. Is there a return?")
def makes_and_forgets(resize, in_channels, out_channels):
    nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))


@resizing.wrong("makes 2 of 3")
def keeps_the_channels(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1))


@resizing.wrong("to have 5 channels, but got 3")
def channels_swapped(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.Conv2d(out_channels, in_channels, kernel_size=3, padding=1))


@resizing.right
class ResizeFirst(nn.Module):
    def __init__(self, resize, in_channels, out_channels):
        super().__init__()
        self.resize, self.convolution = resize, nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x):
        return self.convolution(self.resize(x))


@resizing.right
def same_padding(resize, in_channels, out_channels):
    layers = nn.Sequential()
    layers.add_module("resize", resize)
    layers.add_module("convolution", nn.Conv2d(in_channels, out_channels, (3, 3), padding="same"))
    return layers


@resizing.right
def lazy(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.LazyConv2d(out_channels, 3, padding=1))


@resizing.right
def zeros_added_first(resize, in_channels, out_channels):
    return nn.Sequential(resize, nn.ZeroPad2d(1), nn.Conv2d(in_channels, out_channels, 3))


# 4.6 prediction


@predict.wrong("it draws no checkerboards")
def nearest_neighbour():
    return "nearest"


@predict.wrong("strokes are not smooth at their edges")
def smoothest():
    return "bilinear"


@predict.wrong('"shuffle" is none of')
def pixel_shuffling():
    return "shuffle"


@predict.wrong("you answer None;")
def says_it_only():
    print("transposed")


@predict.wrong("you answer 0;")
def a_number():
    return 0


@predict.wrong("you answer ('transposed', 'nearest');")
def two_answers():
    return "transposed", "nearest"


@predict.right
def with_a_capital():
    return "Transposed "


@predict.right
def by_reasoning():
    pixels_set_freely = {"transposed": 3, "nearest": 2, "bilinear": 1}
    return max(pixels_set_freely, key=pixels_set_freely.get)


test_wrong, test_right, test_galleries = gallery_tests(galleries)


@pytest.mark.parametrize("scale", [2, 3])
def test_solutions_agree_with_pytorch(scale):
    x = torch.rand(2, 3 * scale**2, 4, 5)
    assert torch.equal(lesson04.upsample_nearest(x, scale), F.interpolate(x, scale_factor=scale, mode="nearest"))
    assert torch.equal(lesson04.pixel_shuffle(x, scale), F.pixel_shuffle(x, scale))
    layer = nn.Conv2d(3 * scale**2, 2 * scale**2, 3)
    lesson04.icnr_(layer, scale)
    y = F.pixel_shuffle(layer(x), scale)
    torch.testing.assert_close(y, F.interpolate(y[..., ::scale, ::scale], scale_factor=scale))
