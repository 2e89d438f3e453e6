"""Checks of lesson 4."""

import torch
import torch.nn.functional as F
from torch import nn

from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_tensor
from aecourse.training import default_device


def _enlarge(answer, x, *scale, shape, what):
    """Call a learner's upsampling and refuse another shape, type or device."""
    out = call(answer, x, *scale)
    require_tensor(out, shape, what)
    require(out.dtype == x.dtype, f"images of {x.dtype} come back as {out.dtype}; no network takes both.")
    require(out.device == x.device, f"images on {x.device} come back on {out.device}; no network takes both.")
    return out


def _require_gradient(out, x, copies):
    """Refuse a result of which not every pixel passes on its gradient."""
    require(
        out.requires_grad, "no gradient comes through: is there a detach, or a new tensor that is filled with numbers?"
    )
    (gradient,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
    passed = 0 if gradient is None else gradient.mean().item()
    require(
        gradient is not None and close(gradient, torch.full_like(x, copies)),
        f"the pixels are right, but their gradients are {passed:.3g} on average, not {copies}: is a part detached?",
    )


def upsample_nearest(x, scale=2):
    """Repeat every pixel scale times along both sides.

    x: (batch, channels, height, width). Returns (batch, channels, scale·height, scale·width).
    """
    return x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


@check(
    "4.1",
    upsample_nearest,
    hints=(
        "Of the row 1 2 3 it makes 1 1 2 2 3 3: each pixel is followed by its own copy.",
        "Tensor.repeat tiles the whole image instead: 1 2 3 1 2 3. Look for the method that repeats single elements.",
        "repeat_interleave(scale, dim=…) repeats along one axis. Height and width are axes 2 and 3.",
    ),
)
def _upsample_nearest(answer):
    x = torch.rand(1, 2, 2, 3)
    out = _enlarge(answer, x, shape=(1, 2, 4, 6), what="the enlargement of two channels of 2×3")
    require(
        not torch.equal(out, x.repeat(1, 1, 2, 2)),
        "the whole image is tiled, 1 2 1 2; each pixel should be repeated, 1 1 2 2.",
    )
    require(torch.equal(out[..., ::2, ::2], x), "every second pixel of every second row should be the image itself.")
    require(torch.equal(out[..., 1::2], out[..., ::2]), "pixels side by side in a block differ.")
    require(torch.equal(out[..., 1::2, :], out[..., ::2, :]), "pixels one above the other in a block differ.")
    x = torch.rand(3, 4, 2, 5)
    out = _enlarge(answer, x, shape=(3, 4, 4, 10), what="the enlargement of three images of 2×5")
    require(torch.equal(out, upsample_nearest(x)), "it is right for one image and wrong for three.")
    x = torch.rand(1, 1, 5, 2, requires_grad=True)
    out = _enlarge(answer, x, 3, shape=(1, 1, 15, 6), what="at scale=3, the enlargement of a grey image of 5×2")
    require(torch.equal(out, upsample_nearest(x, 3)), "it is right at scale=2 and wrong at scale=3.")
    _require_gradient(out, x, copies=9)


def phase_power(images):
    """Mean square of the pixels at even and odd rows, even and odd columns.

    images: (n, channels, height, width) with even sides.
    Returns (2, 2): the first axis is the row modulo 2, the second the column modulo 2.
    """
    phases = [images[..., row::2, column::2].square().mean() for row in (0, 1) for column in (0, 1)]
    return torch.stack(phases).view(2, 2)


@check(
    "4.2",
    phase_power,
    hints=(
        "images[..., 0::2, 1::2] are the pixels at even rows and odd columns.",
        "Square, then average over everything; once for each of the four phases.",
        "torch.stack makes a tensor of four numbers in a list, and view(2, 2) gives it two axes.",
    ),
)
def _phase_power(answer):
    x = torch.zeros(3, 2, 4, 6)
    x[..., 0::2, 1::2] = -2
    x[..., 1::2, 0::2] = 3
    x[..., 1::2, 1::2] = 1
    out = call(answer, x)
    require(
        not (torch.is_tensor(out) and out.shape == (4,)),
        "it has the shape (4,); rows and columns are two axes: (2, 2).",
    )
    require_tensor(out, (2, 2), "the power of the four phases")
    wanted = torch.tensor([[0.0, 4.0], [9.0, 1.0]])
    require(out.any(), "phases of -2, 3 and 1 have no power at all: is a mean subtracted before squaring?")
    require(not close(out, wanted.T), "rows and columns are swapped.")
    require(not close(out, wanted.sqrt()), "these are roots, or absolute values: the mean square is wanted.")
    require(
        not close(out, torch.tensor([[0.0, -2.0], [3.0, 1.0]])), "these are means: power is the mean of the squares."
    )
    require(not close(out, wanted * 36), "it is 36 times too large for 3·2·6 pixels of a phase: average, do not sum.")
    require(
        not close(out, wanted / 4), "it is 4 times too small: average over the pixels of a phase, not of the image."
    )
    yours = ", ".join(f"{number:.3g}" for number in out.flatten().tolist())
    require(close(out, wanted), f"pixels of 0, -2, 3, 1 have powers 0, 4, 9, 1; yours are {yours}.")
    cases = (
        ((1, 1, 6, 4), "where pixels of a phase differ, it is wrong: square each pixel before you average."),
        ((1, 3, 6, 4), "it is right for one channel and wrong for three: average over all channels."),
        ((4, 3, 6, 4), "it is right for one image and wrong for four: average over all images."),
    )
    for shape, message in cases:
        x = torch.randn(shape)
        out = call(answer, x)
        require_tensor(out, (2, 2), f"the power of the four phases of {shape} pixels")
        require(close(out, phase_power(x)), message)
    call(answer, torch.rand(2, 3, 10, 10)[..., 1:-1, 1:-1])  # the lesson cuts off borders, which not every view takes


def pixel_shuffle(x, scale=2):
    """Turn scale² channels into one that is scale times as high and wide.

    x: (batch, channels·scale², height, width). Of each scale² channels in turn, the first goes to the
    upper left pixel of every block, the next to its right, row by row.
    Returns (batch, channels, scale·height, scale·width).
    """
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels // scale**2, scale, scale, height, width)
    return blocks.permute(0, 1, 4, 2, 5, 3).reshape(batch, -1, scale * height, scale * width)


@check(
    "4.3",
    pixel_shuffle,
    hints=(
        "Split the channel axis in three: output channel, row in the block, column in the block. That is a reshape.",
        "The output's rows run over (image row, row in the block): these two axes stand side by side, in this order.",
        "permute makes the order batch, channel, image row, block row, image column, block column; then reshape again.",
    ),
)
def _pixel_shuffle(answer):
    x = torch.arange(4.0).view(1, 4, 1, 1)
    out = _enlarge(answer, x, shape=(1, 1, 2, 2), what="the shuffle of four channels of one pixel")
    require(
        not torch.equal(out[0, 0].T.flatten(), x.flatten()),
        "channels 0, 1, 2, 3 fill the block column by column; row by row is wanted.",
    )
    require(
        torch.equal(out.flatten(), x.flatten()), "channels 0, 1, 2, 3 should fill the block row by row: 0 1 above 2 3."
    )
    x = x + torch.rand(1, 4, 2, 3)  # the whole part of each pixel is its channel
    out = _enlarge(answer, x, shape=(1, 1, 4, 6), what="the shuffle of four channels of 2×3")
    require(
        not torch.equal(out.flatten(), x.flatten()),
        "the numbers are in the order they had: a reshape alone does not put channels side by side.",
    )
    block = out[0, 0, :2, :2].flatten().int().tolist()
    require(block == [0, 1, 2, 3], f"with images of 2×3, the channels in the upper left block are {block}.")
    require(
        torch.equal(out, pixel_shuffle(x)),
        "with images of 2×3 the pixels of a block are not the four channels of one place.",
    )
    x = torch.rand(1, 12, 3, 2)
    out = _enlarge(answer, x, shape=(1, 3, 6, 4), what="the shuffle of twelve channels of 3×2")
    require(
        torch.equal(out, pixel_shuffle(x)),
        "with twelve channels, output channel 0 should be made of channels 0 to 3, channel 1 of 4 to 7, and so on.",
    )
    x = torch.rand(3, 12, 3, 2, device=default_device()).to(
        memory_format=torch.channels_last
    )  # as in the lesson's decoders
    out = _enlarge(answer, x, shape=(3, 3, 6, 4), what="the shuffle of three images of twelve channels")
    require(torch.equal(out, pixel_shuffle(x)), "it is right for one image and wrong for three.")
    x = torch.rand(2, 36, 2, 3, requires_grad=True)
    out = _enlarge(answer, x, 3, shape=(2, 4, 6, 9), what="at scale=3, the shuffle of 36 channels of 2×3")
    require(torch.equal(out, pixel_shuffle(x, 3)), "it is right at scale=2 and wrong at scale=3.")
    _require_gradient(out, x, copies=1)


def icnr_(layer, scale=2):
    """Make the scale² channels that pixel shuffle puts into one block equal, in place.

    layer: nn.Conv2d with channels·scale² output channels. The first of each scale² in turn keeps its
    weights and bias, the others get copies. Returns nothing.
    Source: Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017.
    """
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.copy_(parameter[:: scale**2].repeat_interleave(scale**2, dim=0))


@check(
    "4.4",
    icnr_,
    hints=(
        "Pixel shuffle puts output channels 0, 1, 2, 3 into one block, then 4, 5, 6, 7 into that of the next channel.",
        "weight[::4] are the channels that stay; each is wanted four times in a row, weights and bias.",
        "Under torch.no_grad(), parameter.copy_(…) overwrites the numbers and keeps the parameter.",
    ),
)
def _icnr_(answer):
    _require_icnr(answer, channels=2)
    _require_icnr(answer, 3, channels=4)
    _require_icnr(answer, channels=1)  # the lesson's last layer


def _require_icnr(answer, *scale, channels):
    """Refuse what icnr_ makes of a convolution for this many output channels after the shuffle."""
    side = scale[0] if scale else 2
    at, block = f"at scale={side}, ", side**2
    layer = nn.Conv2d(3, channels * block, 3)
    weight, bias = layer.weight, layer.bias
    before = weight.detach().clone(), bias.detach().clone()
    result = answer(layer, *scale)
    require(isinstance(layer.weight, nn.Parameter), "the weight is no parameter any more: training would pass it by.")
    require(
        layer.weight is weight and layer.bias is bias, "the layer has new parameters; overwrite the numbers of the old."
    )
    require(
        result is None or result is layer,
        f"it returns a {type(result).__name__}; the layer that it is given should change, in place.",
    )
    for name, values, old in (("weight", weight, before[0]), ("bias", bias, before[1])):
        shape = tuple(values.shape)
        require(shape == old.shape, f"{at}the {name} had the shape {tuple(old.shape)} and now has {shape}.")
        require(values.requires_grad, f"the {name} is not trained any more.")
        require(
            values.stride(0) > 0, f"the channels of the {name} share memory: no training step could tell them apart."
        )
    weight, bias = weight.detach(), bias.detach()
    require(not torch.equal(weight, before[0]), f"{at}the weights are what they were.")
    require(weight.any(), "all weights are 0.")
    blocks, biases = weight.unflatten(0, (channels, block)), bias.unflatten(0, (channels, block))
    equal = (blocks == blocks[:, :1]).all()
    if channels > 1:
        require(
            equal or not torch.equal(weight[:channels], weight[channels : 2 * channels]),
            f"channels 0 and {channels} are equal, 0 and 1 are not. Which does pixel shuffle put into one block?",
        )
        require(
            not torch.equal(blocks[0], blocks[1]), "all blocks have the same weights: every output channel has its own."
        )
    require(equal, f"{at}the {block} channels of one block have different weights.")
    require((biases == biases[:, :1]).all(), f"{at}the biases of a block differ: a constant checkerboard remains.")
    for name, values, old in (("weights", blocks, before[0]), ("bias", biases, before[1])):
        gap = (values[:, 0] - old[::block]).abs().max().item()
        require(gap < 1e-6, f"{at}the first channel of each block should keep its {name}; yours moves by {gap:.2g}.")


def resize_convolution(resize, in_channels, out_channels):
    """Double height and width with resize, a module, and convolve with a kernel of 3×3 that keeps the size.

    Returns a module: (batch, in_channels, height, width) → (batch, out_channels, 2·height, 2·width).
    """
    return nn.Sequential(resize, nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))


@check(
    "4.5",
    resize_convolution,
    hints=(
        "Which sizes does the convolution work on? Which of them should it work on, to draw single pixels?",
        "The picture is made of blocks of 2×2 equal pixels. Which layer makes those, and what comes after it?",
    ),
)
def _resize_convolution(answer):
    resize = nn.Upsample(scale_factor=2, mode="nearest")
    x = torch.rand(2, 3, 6, 6)
    layers = answer(resize, 3, 5)
    require(layers is not None, "it returns None. Is there a return?")
    require(isinstance(layers, nn.Module), f"it returns a {type(layers).__name__}; a module is wanted.")
    y = layers(x)  # not by call: the first call may draw the weights of lazy layers
    require(torch.is_tensor(y) and y.ndim == 4, "the module does not return images.")
    require(
        tuple(y.shape[:2]) == (2, 5), f"two images of 5 channels are wanted; it makes {y.shape[0]} of {y.shape[1]}."
    )
    require(tuple(y.shape[2:]) != (6, 6), "the images are as large as before: is resize used?")
    require(tuple(y.shape[2:]) == (12, 12), f"6×6 pixels become {y.shape[2]}×{y.shape[3]}, not 12×12.")
    convolution = _only_convolution(layers)
    require(convolution.kernel_size == (3, 3), f"the kernel is {convolution.kernel_size}, not 3×3.")
    require(
        not torch.equal(y, upsample_nearest(y[..., ::2, ::2])),
        "the output consists of 2×2 blocks of equal pixels. Which layer makes them?",
        Bug,
    )
    require(convolution.bias is not None, "the convolution has lost its bias.")
    gap = _gap(call(layers, x), resize(x), convolution)
    require(gap < 1e-5, f"it differs by up to {gap:.2g} from enlarging and one convolution: what else is done?")
    resize = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"))
    layers, x = answer(resize, 1, 1), torch.rand(1, 1, 4, 4)
    y, convolution = layers(x), _only_convolution(layers)
    require_tensor(y, (1, 1, 8, 8), "with a bilinear resize, one image of 4×4")
    require(
        _gap(y, resize(x), convolution) < 1e-5,
        "with a bilinear resize it does not do what it does with nearest: enlarge by the resize that it is given.",
    )


def _only_convolution(layers):
    convolutions = [module for module in layers.modules() if isinstance(module, nn.Conv2d)]
    require(len(convolutions) == 1, f"PyTorch finds {len(convolutions)} convolutions (nn.Conv2d) in it; one is wanted.")
    return convolutions[0]


def _gap(y, enlarged, convolution):
    """How far y is from the convolved image, at most. Its border may be padded with anything."""
    expected = F.conv2d(enlarged, convolution.weight, convolution.bias)
    return (y[..., 1:-1, 1:-1] - expected).abs().max().item()


def lowest_error():
    """Decoders with equally many weights, trained alike: which reconstructs test images with the least error?

    "transposed": transposed convolutions with kernel 3, which overlap unevenly.
    "nearest": enlarging by nearest neighbour, then a convolution.
    "bilinear": enlarging by bilinear interpolation, then a convolution.
    """
    return "transposed"


@check(
    "4.6",
    lowest_error,
    hints=(
        "Squared error asks for the right value in the right pixel. Which decoder is freest to put an edge there?",
        "What smooth enlarging cannot draw, a convolution behind it has to sharpen again, with nine weights.",
    ),
    prediction=True,
)
def _lowest_error(answer):
    choice = require_choice(answer, "transposed", "nearest", "bilinear")
    require(
        choice != "nearest", "it draws no checkerboards; but is that what squared error counts? Run on and compare."
    )
    require(choice != "bilinear", "it is the smoothest; strokes are not smooth at their edges. Run on and compare.")
