"""Exercises of lesson 4."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from aecourse import metrics, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    computed,
    observe,
    prediction,
    require,
    require_any_device,
    require_same,
    require_same_gradients,
    require_tensor,
)
from aecourse.training import default_device


def require_enlarged(answer, solution, x, *scale):
    """Refuse an answer whose output for x, or whose gradient, is not that of the solution."""
    x = computed(x.to(default_device()))
    result, right = call(answer, x, *scale), solution(x, *scale)
    at = f" at scale={scale[0]}" if scale else ""
    what = f"for feature maps of the shape {tuple(x.shape)}, what it returns{at}"
    require_tensor(result, right.shape, what, device=x.device)
    require_same(result, right, what)
    require_same_gradients(result, right, {"x": x}, what)
    require_any_device(answer, x, *scale)


# 4.1 upsample_nearest

nearest = Exercise(
    "4.1",
    models.upsample_nearest,
    hints=(
        "Of the row 1 2 3 it makes 1 1 2 2 3 3: each pixel is followed by its own copy.",
        "Tensor.repeat tiles the whole image instead: 1 2 3 1 2 3. Look for the method that repeats single elements.",
        "repeat_interleave(scale, dim=…) repeats along one axis. Height and width are axes 2 and 3.",
    ),
)


@nearest.check
def _(answer):
    for shape, *scale in ((3, 4, 5, 7),), ((2, 1, 7, 4), 3), ((1, 3, 2, 5), 5), ((1, 1, 4, 3),), ((1, 256, 8, 8),):
        require_enlarged(answer, models.upsample_nearest, torch.rand(shape), *scale)


@nearest.mistake("the whole image is tiled, 1 2 1 2; repeat each pixel, 1 1 2 2.")
def tiles(x, scale=2):
    return x.repeat(1, 1, scale, scale)


@nearest.mistake("it doubles the sides for every scale.")
def doubles_for_every_scale(x, scale=2):
    return models.upsample_nearest(x)


@nearest.mistake("the height grows, the width does not.")
def rows_only(x, scale=2):
    return x.repeat_interleave(scale, dim=2)


@nearest.mistake("it repeats the channels. Axes are counted from 0: batch, channels, height, width.")
def axes_counted_from_one(x, scale=2):
    return x.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


@nearest.mistake("it interpolates: new values appear between pixels. Nearest neighbour only copies.")
def bilinear(x, scale=2):
    return F.interpolate(x, scale_factor=scale, mode="bilinear")


@nearest.mistake("one pixel of each block is set; the others are 0.")
def leaves_zeros_between(x, scale=2):
    block = x.new_zeros(scale, scale)
    block[0, 0] = 1
    return torch.kron(x, block)


@nearest.mistake("the pixels are right, but only one of each block passes on its gradient.")
def detaches_the_copies(x, scale=2):
    out = models.upsample_nearest(x.detach(), scale)
    out[..., ::scale, ::scale] = x
    return out


# 4.2 phase_power

power = Exercise(
    "4.2",
    metrics.phase_power,
    hints=(
        "images[..., 0::2, 1::2] are the pixels at even rows and odd columns.",
        "Square, then average over everything; once for each of the four phases.",
        "torch.stack makes a tensor of four numbers in a list, and view(2, 2) gives it two axes.",
    ),
)


@power.check
def _(answer):
    # on the CPU and without gradients: it measures images and is no loss
    for (n, channels, height, width), border in ((3, 5, 12, 14), 0), ((1, 1, 6, 10), 0), ((1, 256, 16, 16), 4):
        x = torch.randn(n, channels, height, width) * torch.rand(n, channels, 1, 1)
        x += torch.tensor([[0.5, -2.0], [1.0, 3.0]]).repeat(height // 2, width // 2)
        x = x[..., border : height - border, border : width - border]  # the lesson crops borders
        what = f"the power of the four phases of {tuple(x.shape)} pixels"
        result = call(answer, x)
        require_tensor(result, (2, 2), what, dtype=getattr(result, "dtype", torch.float32))
        require_same(result, metrics.phase_power(x), what)


def statistic(name, of_phase, message):
    """Register a mistake: something else is computed of the pixels of each phase."""

    def answer(maps):
        return torch.stack([of_phase(maps[..., i::2, j::2]) for i in (0, 1) for j in (0, 1)]).view(2, 2)

    answer.__name__ = name
    power.mistake(message)(answer)


statistic("sums", lambda x: x.square().sum(), "it is the sum of the squares; average them.")
statistic("sums_per_image", lambda x: x.square().sum() / len(x), "it sums over the pixels of an image; average them.")
statistic("means", torch.mean, "these are means: power is the mean of the squares.")
statistic("absolute", lambda x: x.abs().mean(), "these are mean absolute values: power is the mean of the squares.")
statistic("roots", lambda x: x.square().mean().sqrt(), "a root is taken: power is the mean square itself.")
statistic("squares_of_means", lambda x: x.mean().square(), "it averages, and then squares; square each pixel first.")
statistic("variances", torch.var, "it is a variance: the mean is subtracted, which is part of the power.")
statistic("deviations", torch.std, "it is a standard deviation: power keeps the mean, and no root is taken.")
statistic("quarters", lambda x: x.square().mean() / 4, "it divides by the pixels of the image, not of a phase.")
statistic("first_channel", lambda x: x[:, :1].square().mean(), "it measures the first channel only.")
statistic("first_image", lambda x: x[:1].square().mean(), "it measures the first image only.")


@power.mistake("rows and columns are swapped.")
def columns_first(maps):
    return metrics.phase_power(maps).T


@power.mistake("it counts rows and columns from 1: row 0 and column 0 are even.")
def counts_from_one(maps):
    return metrics.phase_power(maps.flip(-1, -2))


@power.mistake("the mean of each map is subtracted first. Power is computed from the pixels as they are.")
def of_deviations(maps):
    return metrics.phase_power(maps - maps.mean(dim=(2, 3), keepdim=True))


@power.mistake("it measures the four quarters of the image. A phase takes every second row and column.")
def quarters_of_the_image(maps):
    return maps.square().unflatten(3, (2, -1)).unflatten(2, (2, -1)).mean(dim=(0, 1, 3, 5))


# 4.3 pixel_shuffle

shuffle = Exercise(
    "4.3",
    models.pixel_shuffle,
    hints=(
        "Split the channel axis in three: output channel, row in the block, column in the block. That is a reshape.",
        "The output's rows run over (image row, row in the block): these two axes are adjacent, in this order.",
        "permute makes the order batch, channel, image row, block row, image column, block column; then reshape again.",
    ),
)


@shuffle.check
def _(answer):
    for shape, *scale in ((3, 20, 6, 7),), ((2, 36, 5, 3), 3), ((1, 4, 3, 5),), ((1, 50, 2, 3), 5), ((1, 1024, 8, 8),):
        require_enlarged(answer, models.pixel_shuffle, torch.rand(shape), *scale)
    x = torch.rand(3, 32, 7, 7).to(memory_format=torch.channels_last)  # as in the lesson's decoders
    require_enlarged(answer, models.pixel_shuffle, x)


def reordered(name, order, message):
    """Register a mistake: the axes of the blocks come in another order than 0, 1, 4, 2, 5, 3."""

    def answer(x, scale=2):
        blocks = x.unflatten(1, (-1, scale, scale)).permute(order)
        return blocks.reshape(len(x), -1, scale * x.shape[2], scale * x.shape[3])

    answer.__name__ = name
    shuffle.mistake(message)(answer)


reordered("reshapes_alone", (0, 1, 2, 3, 4, 5), "a reshape alone keeps all values in their order.")
reordered("columns_first", (0, 1, 4, 3, 5, 2), "channels fill a block column by column; row by row is wanted.")
reordered("mosaic", (0, 1, 2, 4, 3, 5), "whole maps lie side by side, as in a mosaic; interleave their pixels.")
reordered("rows", (0, 1, 2, 4, 5, 3), "columns are interleaved, rows are not: which of two row axes runs faster?")
reordered("columns", (0, 1, 4, 2, 3, 5), "rows are interleaved, columns are not: which of two column axes runs faster?")
reordered("transposed", (0, 1, 5, 2, 4, 3), "a block should hold the channels of one position: which axes are swapped?")


@shuffle.mistake("a block takes channels from far apart; each scale² channels in turn make one output channel.")
def block_before_channel(x, scale=2):
    return models.pixel_shuffle(x.unflatten(1, (scale**2, -1)).transpose(1, 2).flatten(1, 2), scale)


@shuffle.mistake("images of the batch are mixed up: keep the batch axis first.")
def mixes_the_images(x, scale=2):
    return models.pixel_shuffle(x.reshape(x.shape[1], len(x), *x.shape[2:]).transpose(0, 1), scale)


@shuffle.mistake("it makes blocks of 2×2 for every scale.")
def shuffles_by_two_only(x, scale=2):
    return models.pixel_shuffle(x)


@shuffle.mistake("the pixels are right, but only one channel of each block passes on its gradient.")
def fills_detached_numbers(x, scale=2):
    out = models.pixel_shuffle(x.detach(), scale)
    out[..., ::scale, ::scale] = x[:, :: scale**2]
    return out


@shuffle.mistake("view never copies, but after permute the values have to be copied into a new order. reshape does.")
def views_after_permute(x, scale=2):
    blocks = x.unflatten(1, (-1, scale, scale)).permute(0, 1, 4, 2, 5, 3)
    return blocks.view(len(x), -1, scale * x.shape[2], scale * x.shape[3])


@shuffle.mistake("feature maps of this lesson are channels_last in memory: view cannot reshape them like this.")
def views_batch_and_channels_as_one(x, scale=2):
    blocks = x.view(-1, scale, scale, *x.shape[2:]).permute(0, 3, 1, 4, 2)
    return blocks.reshape(len(x), -1, scale * x.shape[2], scale * x.shape[3])


# 4.4 icnr_

icnr = Exercise(
    "4.4",
    models.icnr_,
    hints=(
        "Pixel shuffle puts output channels 0, 1, 2, 3 into one block, then 4, 5, 6, 7 into that of the next channel.",
        "weight[::4] are the channels that stay; each is wanted four times in a row, weights and bias.",
        "Under torch.no_grad(), parameter.copy_(…) overwrites the values and keeps the parameter.",
    ),
)


@icnr.check
def _(answer):
    for inputs, channels, kernel, *scale in (5, 6, (3, 7)), (5, 4, 2, 3), (8, 1, 3), (32, 8, 3):
        side = scale[0] if scale else 2
        layer = nn.Conv2d(inputs, channels * side**2, kernel).to(default_device())
        right, parameters, state = copy.deepcopy(layer), dict(layer.named_parameters()), torch.get_rng_state()
        models.icnr_(right, *scale)
        result = answer(layer, *scale)
        kind = type(result).__name__
        require(result is None or result is layer, f"it returns a {kind}; change the layer that is given, in place.")
        require(torch.equal(state, torch.get_rng_state()), "it samples random numbers; none are needed.")
        for name, parameter in parameters.items():
            what = f"at scale={side}, the {name} of a layer for {channels} channels after the shuffle"
            require(getattr(layer, name, None) is parameter, f"the layer's {name} is not the parameter that it was.")
            require_tensor(parameter, getattr(right, name).shape, what, device=default_device())
            require(parameter.requires_grad, f"the layer's {name} has requires_grad=False now: it is not trained.")
            tied = f"channels of the {name} share memory: a training step could not change them separately."
            require(parameter.stride(0) > 0, tied)
            require_same(parameter, getattr(right, name), what)
    call(answer, nn.Conv2d(3, 8, 3).requires_grad_(False))  # call compares all but frozen parameters


def rearranged(name, index, message):
    """Register a mistake: channel i of the n gets the weights and the bias of the channel index(i, n, scale)."""

    def answer(layer, scale=2):
        for parameter in layer.parameters():
            parameter.data.copy_(parameter.data[index(torch.arange(len(parameter)), len(parameter), scale)])

    answer.__name__ = name
    icnr.mistake(message)(answer)


rearranged("untouched", lambda i, n, s: i, "the layer that it is given stays as it was.")
rearranged("all_equal", lambda i, n, s: 0 * i, "all channels are equal; only those of one block should be.")
rearranged("pairs", lambda i, n, s: i - (i % s**2 == 1).int(), "only two channels of each block are equal.")
rearranged("fours", lambda i, n, s: i - i % 4, "it makes blocks of four channels for every scale.")
rearranged("not_squared", lambda i, n, s: i - i % s, "blocks have scale channels; pixel shuffle takes scale².")
rearranged("first_ones", lambda i, n, s: i // s**2, "blocks keep the first channels of the layer, not their own.")
rearranged("repeated", lambda i, n, s: i % (n // s**2) * s**2, "equal channels are far apart: which form a block?")


@icnr.mistake("the biases of a block still differ: the layer starts with a checkerboard on every feature map.")
def forgets_the_bias(layer, scale=2):
    bias = layer.bias.detach().clone()
    models.icnr_(layer, scale)
    layer.bias.data.copy_(bias)


@icnr.mistake("the layer has new parameters, but an optimiser may hold the old ones. Overwrite the old values.")
def replaces_the_parameters(layer, scale=2):
    models.icnr_(layer, scale)
    layer.weight, layer.bias = nn.Parameter(layer.weight.detach()), nn.Parameter(layer.bias.detach())


@icnr.mistake("it samples new weights. The first channel of each block keeps those that it has.")
def samples_new_weights(layer, scale=2):
    nn.init.kaiming_normal_(layer.weight)
    models.icnr_(layer, scale)


@icnr.mistake("PyTorch records operations on parameters; while it does, they cannot be overwritten in place.")
def forgets_no_grad(layer, scale=2):
    layer.weight.copy_(layer.weight.clone())


@icnr.mistake("each block gets the mean of its channels, which is smaller than they are; keep the first.")
def averages_the_block(layer, scale=2):
    for parameter in layer.parameters():
        means = parameter.data.unflatten(0, (-1, scale**2)).mean(dim=1)
        parameter.data.copy_(means.repeat_interleave(scale**2, dim=0))


@icnr.mistake("a layer that was frozen learns afterwards: requires_grad should stay as it was.")
def unfreezes(layer, scale=2):
    models.icnr_(layer, scale)
    layer.requires_grad_(True)


# 4.5 resize_convolution

resizing = Exercise(
    "4.5",
    models.resize_convolution,
    hints=(
        "At which size does the convolution work now? At which should it, so that neighbouring pixels can differ?",
        "The output consists of blocks of 2×2 equal pixels. Which layer makes them, and what comes after it?",
    ),
)


@resizing.check
def _(answer):
    nearest, bilinear = (nn.Upsample(scale_factor=2, mode=mode) for mode in ("nearest", "bilinear"))
    nested = nn.Sequential(nn.Sequential(bilinear, nn.BatchNorm2d(4)), nn.Dropout(0.5))
    for resize, n, a, b, height, width in (nearest, 3, 5, 2, 6, 7), (nested, 1, 4, 1, 7, 5), (nearest, 2, 32, 32, 7, 7):
        right = models.resize_convolution(resize, a, b).to(default_device())
        layers = call(answer, resize, a, b, sampled=True)
        got = "None. Is there a return?" if layers is None else f"a {type(layers).__name__}."
        require(isinstance(layers, nn.Module), f"a module is wanted; it returns {got}")
        x = computed(torch.rand(n, a, height, width, device=default_device()))
        layers.to(x.device)(x)  # here lazy layers make their weights
        if resize is nested:  # the others in training mode, where a dropout would show
            layers.eval()
            reached = not any(part.training for part in resize.modules())
            right.eval()
        given = set(resize.parameters())
        yours, ours = ([p for p in module.parameters() if p not in given] for module in (layers, right))
        shapes, wanted = (sorted(tuple(p.shape) for p in parameters) for parameters in (yours, ours))
        observe(shapes)
        layer = f"a convolution from {a} to {b} channels with a kernel of 3×3"
        require(shapes == wanted, f"of its own it has parameters of the shapes {shapes}; {layer} has {wanted}.")
        require(all(p.requires_grad for p in yours), "its convolution does not learn: requires_grad is False.")
        yours, ours = ({"bias" if p.ndim == 1 else "weight": p for p in parameters} for parameters in (yours, ours))
        for name, parameter in ours.items():
            yours[name].data.copy_(parameter.data)
        what = f"with the same weights and a {'bilinear' if resize is nested else 'nearest'} resize, its output"
        y, correct = call(layers, x), right(x)
        require_tensor(y, correct.shape, what, device=x.device)
        y, correct = y[..., 1:-1, 1:-1], correct[..., 1:-1, 1:-1]  # how the border is padded is left open
        require_same(y, correct, f"{what} away from the border")
        require_same_gradients(y, correct, {"its input": x} | yours, what, {"its input": x} | ours)
        require(resize is not nested or reached, "eval() of the module leaves resize in training mode.")


@resizing.given("the output still consists of blocks of 2×2 equal pixels.")
def the_bug_itself(resize, in_channels, out_channels):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), resize)


def sequence(name, layers, message):
    """Register a mistake: other layers, made from resize and the two numbers of channels, in this order."""

    def answer(resize, in_channels, out_channels):
        return nn.Sequential(*layers(resize, in_channels, out_channels))

    answer.__name__ = name
    resizing.mistake(message)(answer)


def conv(a, b, kernel=3, **named):
    """A convolution that keeps the size."""
    return nn.Conv2d(a, b, kernel, padding=kernel // 2, **named)


sequence("no_padding", lambda r, a, b: [r, nn.Conv2d(a, b, 3)], "the output is less than twice as large.")
sequence("bug_unpadded", lambda r, a, b: [nn.Conv2d(a, b, 3), r], "there are still blocks, and pixels are missing.")
sequence("upsamples_twice", lambda r, a, b: [r, conv(a, b), r], "the output is four times as large, not twice.")
sequence("never_upsamples", lambda r, a, b: [conv(a, b)], "the output is as large as the input.")
sequence("keeps_channels", lambda r, a, b: [r, conv(a, a)], "it returns as many channels as it is given.")
sequence("swaps_channels", lambda r, a, b: [r, conv(b, a)], "it takes as many channels as it should return.")
sequence("convolves_twice", lambda r, a, b: [conv(a, b), r, conv(b, b)], "it has the weights of two convolutions.")
sequence("deconvolves", lambda r, a, b: [nn.ConvTranspose2d(a, b, 4, 2, 1)], "it learns its own upsampling.")
sequence("always_nearest", lambda r, a, b: [nn.Upsample(None, 2), conv(a, b)], "it does the same for every resize.")
sequence("kernel_one", lambda r, a, b: [r, conv(a, b, 1)], "a pixel is computed from a single one, not from 3×3.")
sequence("kernel_five", lambda r, a, b: [r, conv(a, b, 5)], "it has nearly three times as many weights as before.")
sequence("no_bias", lambda r, a, b: [r, conv(a, b, bias=False)], "the convolution has lost its bias.")
sequence("adds_a_relu", lambda r, a, b: [r, conv(a, b), nn.ReLU()], "its output is never negative now.")


@resizing.mistake("train(), eval() and to() do not reach resize: it is hidden from PyTorch.")
class HiddenResize(nn.Module):
    def __init__(self, resize, in_channels, out_channels):
        super().__init__()
        self.resize, self.convolution = [resize], conv(in_channels, out_channels)

    def forward(self, x):
        return self.convolution(self.resize[0](x))


# 4.6 which decoder has the lowest error?

prediction(
    "4.6",
    answer="transposed",
    replies={
        "nearest": "it makes no checkerboards; but does squared error measure those? Run on and compare.",
        "bilinear": "it is the smoothest; but strokes are not smooth at their edges. Run on and compare.",
    },
    hints=(
        "Squared error asks for the right value in the right pixel. Which decoder is freest to put an edge there?",
        "What smooth upsampling blurs, the next convolution has to sharpen again, with nine weights.",
    ),
)
