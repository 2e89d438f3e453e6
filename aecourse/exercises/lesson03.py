"""Checks of lesson 3."""

import copy
from numbers import Integral, Real

import torch
from torch import nn

from aecourse import models
from aecourse.data import to_float
from aecourse.exercises.checks import (
    Bug,
    call,
    check,
    close,
    require,
    require_choice,
    require_gradients,
    require_tensor,
)
from aecourse.losses import squared_error


def conv_output_size(size, kernel, stride=1, padding=0):
    """Height (or width) of a convolution's output.

    size: of the input, in pixels. kernel, stride, padding: as nn.Conv2d has them. Returns an int.
    """
    return (size + 2 * padding - kernel) // stride + 1


def transposed_output_size(size, kernel, stride=1, padding=0, output_padding=0):
    """Height (or width) of a transposed convolution's output.

    size: of the input, in pixels. The others: as nn.ConvTranspose2d has them. Returns an int.
    """
    return (size - 1) * stride + kernel - 2 * padding + output_padding


def _require_int(result, what):
    require(result is not None, f"{what} is None. Is there a return?")
    require(isinstance(result, Integral), f"{what} is {result!r}; a whole number (int) is wanted.")


@check(
    "3.1",
    conv_output_size,
    hints=(
        "Pad the row on both sides. How many places are there at which the whole kernel still fits?",
        "The first place is 0, the last is size + 2·padding − kernel. Every stride-th of them gives a pixel.",
        "If the last step does not fit, it is left out: the division rounds down (// in Python).",
    ),
)
def _conv_output_size(answer):
    cases = (
        ((5, 3), "a kernel of 3 fits into 5 pixels at 3 places; you count {0}."),
        ((5, 1), "a kernel of 1 fits at each of 5 pixels; you count {0}."),
        ((28, 3, 1, 1), "28 pixels, kernel 3, padding 1 on both sides give 28; you say {0}."),
        ((9, 3, 3), "a kernel of 3 that moves 3 pixels at a time fits into 9 pixels at 3 places; you count {0}."),
        (
            (10, 3, 3),
            "a kernel of 3 that moves 3 pixels at a time: the tenth pixel makes no fourth place. You count {0}.",
        ),
        ((28, 4, 2, 1), "28 pixels, padding 1 on both sides: a kernel of 4 with stride 2 fits 14 times, not {0}."),
        ((28, 3, 2, 1), "28 pixels, kernel 3, stride 2, padding 1 give 14, not {0}. A last, half step is left out."),
        ((7, 3, 2, 1), "7 pixels, kernel 3, stride 2, padding 1 give 4; you say {0}: an odd size, too."),
    )
    for arguments, message in cases:
        result = answer(*arguments)  # not by call: to make an nn.Conv2d and look is an answer, and draws weights
        _require_int(result, f"the output size for {arguments}")
        require(result == conv_output_size(*arguments), message.format(result))
    for size in range(6, 33):
        for kernel, stride, padding in ((1, 1, 0), (3, 2, 1), (4, 3, 0), (5, 2, 2), (6, 4, 1)):
            expected = nn.Conv2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, size, size)).shape[-1]
            result = answer(size, kernel=kernel, stride=stride, padding=padding)
            require(
                result == expected,
                f"nn.Conv2d makes {expected} of {size} pixels at kernel {kernel}, stride {stride}, padding {padding}; "
                f"you say {result}.",
            )


@check(
    "3.2",
    transposed_output_size,
    hints=(
        "Each input pixel stamps one kernel into the output; the next stamp lies stride pixels further on.",
        "The last of size stamps begins at (size − 1)·stride and ends kernel pixels later.",
        "Here padding cuts off pixels, on both sides; output_padding adds some, on one side.",
    ),
)
def _transposed_output_size(answer):
    cases = (
        ((1, 3, 2), "a single pixel stamps one kernel of 3 pixels; you say {0}."),
        ((4, 3, 1), "4 stamps of 3 pixels, each one pixel further, cover 6; you say {0}."),
        ((4, 3, 2), "4 stamps of 3 pixels, each two pixels further, cover 9; you say {0}."),
        ((4, 3, 2, 1), "4 stamps cover 9 pixels, and padding 1 cuts one off on both sides: 7, not {0}."),
        ((7, 3, 2, 1, 1), "7 pixels become 13 at output_padding 0, so 14 at output_padding 1; you say {0}."),
    )
    for arguments, message in cases:
        result = answer(*arguments)  # not by call, as in 3.1
        _require_int(result, f"the output size for {arguments}")
        require(result == transposed_output_size(*arguments), message.format(result))
    for size in range(2, 20):
        for kernel, stride, padding, extra in ((2, 2, 0, 0), (3, 2, 1, 1), (5, 3, 2, 2), (6, 4, 1, 3), (3, 1, 1, 0)):
            layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding, extra)
            expected = layer(torch.zeros(1, 1, size, size)).shape[-1]
            result = answer(size, kernel=kernel, stride=stride, padding=padding, output_padding=extra)
            require(
                result == expected,
                f"nn.ConvTranspose2d makes {expected} of {size} pixels at kernel {kernel}, stride {stride}, "
                f"padding {padding}, output_padding {extra}; you say {result}.",
            )


def receptive_field(layers):
    """How many input pixels, along one side, one output pixel depends on.

    layers: a list of (kernel, stride), from the input on. Returns an int.
    """
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


@check(
    "3.3",
    receptive_field,
    hints=(
        "One layer of kernel k sees k pixels. A second of kernel 3 adds two of its pixels. How far apart are they?",
        "Two neighbours of a feature map lie as far apart in the image as all strides before it multiply to.",
        "Go through the layers with two numbers: the field so far, and the step between neighbours.",
    ),
)
def _receptive_field(answer):
    cases = (
        ([(5, 1)], "one layer with kernel 5 sees 5 pixels; you say {0}."),
        ([(5, 2)], "one layer with kernel 5 sees 5 pixels, whatever its stride; you say {0}."),
        ([(3, 1), (3, 1)], "two layers with kernel 3 and stride 1 see 5 pixels; you say {0}."),
        ([(3, 1), (3, 2)], "the stride of the last layer moves its outputs apart, it sees nothing new: 5, not {0}."),
        ([(3, 2), (3, 1)], "behind a stride of 2, two more neighbours are 4 more pixels: 7, not {0}."),
        ([(3, 2), (3, 2), (3, 2)], "three layers with kernel 3 and stride 2 see 15 pixels, not {0}: strides multiply."),
        ([(4, 2), (4, 2)], "two layers with kernel 4 and stride 2 see 10 pixels, not {0}: a kernel can be even."),
        ([(7, 2), (3, 3), (1, 1), (5, 1)], "kernels 7, 3, 1, 5 with strides 2, 3, 1, 1 see 35 pixels; you say {0}."),
    )
    for layers, message in cases:
        given = list(layers)
        result = answer(given)  # not by call, as in 3.1
        require(given == layers, "it changes the list that it is given.")
        _require_int(result, f"the receptive field of {layers}")
        require(result == receptive_field(layers), message.format(result))


@check(
    "3.4",
    models.convolutional_encoder,
    hints=(
        "Each step down is nn.Conv2d(…, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU().",
        "The channels go 1 → 32 → 64 → 128, the sides 28 → 14 → 7 → 4.",
        "nn.Flatten() makes 128·4·4 numbers of the last maps, one nn.Linear the code. Nothing comes after it.",
    ),
)
def _convolutional_encoder(answer):
    model = answer(50)  # so many that some of them are negative
    require(model is not None, "it returns None. Is there a return?")
    require(isinstance(model, nn.Module), f"it returns a {type(model).__name__}; a network (nn.Module) is wanted.")
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    require(
        len(convolutions) == 3,
        f"PyTorch finds {len(convolutions)} convolutions in it, three are wanted: is one missing, or in a plain list?",
    )
    table, made = ((32, 14, 14), (64, 7, 7), (128, 4, 4)), []

    def compare(module, inputs, output):
        """Refuse maps of the wrong shape where they are made, before a later layer stops at them."""
        wanted = table[len(made) % 3]
        made.append(tuple(output.shape[1:]))
        require(
            made[-1] == wanted,
            f"convolution {len(made)} makes maps of {made[-1]}, as channels, height, width; the table has {wanted}.",
        )

    handles = [module.register_forward_hook(compare) for module in convolutions]
    x = torch.rand(8, 1, 28, 28)
    require_tensor(model(x[:3]), (3, 50), "the code of three images at latent_dim=50")
    for handle in handles:
        handle.remove()
    call(model, x)  # the first call may draw the weights of lazy layers; from now on nothing is random
    require(all(module.kernel_size == (3, 3) for module in convolutions), "the kernels are not all 3×3.")
    norms = [module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    require(len(norms) == 3, f"it has {len(norms)} batch norms; one after each of the three convolutions is wanted.")
    require(
        sorted(norms) == [32, 64, 128],
        f"its batch norms are for {norms} channels: one should follow each convolution.",
    )
    require(
        all(module.bias is not None for module in convolutions),
        "a convolution has no bias. Batch norm makes up for it, but the lesson counts it.",
    )
    reference = models.convolutional_encoder(50).eval()
    ours, yours = models.count_parameters(reference), models.count_parameters(model)
    require(
        yours == ours,
        f"it has {yours:,} parameters; three convolutions, three batch norms and one linear layer have {ours:,}.",
    )
    model.eval()
    require_tensor(call(model, x[:1]), (1, 50), "the code of a batch of one")
    require_gradients(model(x).square().sum(), model)

    for theirs, mine in zip(_layers(model), _layers(reference)):
        require(
            theirs.weight.shape == mine.weight.shape,
            "its layers come in another order than convolution, batch norm, and linear at the end.",
        )
        nn.init.normal_(theirs.weight, std=0.3)
        nn.init.normal_(theirs.bias, std=0.3)
        mine.load_state_dict(theirs.state_dict(), strict=False)
    code, expected = model(100 * x), reference(100 * x)
    low, high = code.min().item(), code.max().item()
    require(low < -1 or high > 1, f"every number of the code lies between {low:.1f} and {high:.1f}: what squeezes it?")
    require(low < 0, "no code is ever negative: what comes after the linear layer?")
    gap = ((code - expected).abs().max() / expected.abs().max()).item()
    require(
        gap < 1e-3,
        f"with the same weights your code differs, by up to {gap:.0%} of its largest number. "
        "Is there batch norm and then one ReLU after each convolution, and nothing after the linear layer?",
    )


def _layers(model):
    """Layers with weights, in the order in which they are used (which need not be that of their making)."""
    used, handles = [], []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            handles.append(module.register_forward_hook(lambda module, inputs, output: used.append(module)))
    with torch.no_grad():
        model(torch.zeros(2, 1, 28, 28))
    for handle in handles:
        handle.remove()
    return used


def reconstruction_error(model, images, batch_size=100):
    """Mean squared error per pixel of a model's reconstructions. The model is left as it was found.

    images: (n, 1, 28, 28), uint8. Returns a float.
    """
    training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad():
        for batch in images.split(batch_size):
            x = to_float(batch)
            total += squared_error(model(x), x).sum().item()
    model.train(training)
    return total / images.numel()


class _Normed(models.Autoencoder):
    """Nothing but batch norm, with known running averages. It notes how it is called."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.norm.running_mean.fill_(0.25)
        self.norm.running_var.fill_(4)
        self.gradients, self.sizes = [], []

    def encode(self, x):
        self.gradients.append(torch.is_grad_enabled())
        self.sizes.append(len(x))
        return self.norm(x)

    def decode(self, z):
        return z


@check(
    "3.5",
    reconstruction_error,
    hints=(
        "In training mode, batch norm uses the mean and variance of the batch at hand. Which line sets the mode?",
        "model.eval() before the loop; model.train(mode) puts back the mode that model.training said before.",
        "with torch.no_grad(): around the loop saves the memory that gradients would take.",
    ),
)
def _reconstruction_error(answer):
    images = torch.cat([torch.full((3, 1, 28, 28), 20), torch.full((2, 1, 28, 28), 220)]).to(torch.uint8)
    images[:, :, 0] += 30
    expected = reconstruction_error(_Normed(), images)

    def measure(model, *batch_size):
        given = images.clone()
        result = answer(model, given, *batch_size)  # not by call: a DataLoader draws a random number
        require(torch.equal(given, images), "it changes the images in place; later cells need them.")
        require(result is not None, "it returns None. Is there a return?")
        if torch.is_tensor(result):
            require(result.ndim == 0, f"it returns {tuple(result.shape)} numbers; one is wanted.")
            result = result.item()
        require(isinstance(result, Real), f"it returns a {type(result).__name__}; a number is wanted.")
        return result

    model = _Normed().eval()
    parts, most = measure(model, 2), max(model.sizes, default=0)
    whole = measure(model)
    factor = whole / expected
    require(not close(factor, 784), "it is 784 times too large, as many as an image has pixels: an error per pixel.")
    require(
        not close(factor, 784 * 5), "it is too large by as many times as there are pixels in all: sum, then divide."
    )
    require(close(factor, 1), f"a small model makes an error of {expected:.4g} per pixel; you measure {whole:.4g}.")
    require(
        close(parts, whole),
        f"five images at once give {whole:.4g}, in batches of 2, 2 and 1 {parts:.4g}: does every image count alike?",
    )
    require(not model.training, "a model that came in evaluation mode leaves in training mode.")
    require(most <= 2, f"at batch_size=2 the model is given {most} images at once.")

    model = _Normed().train()
    before = copy.deepcopy(model.state_dict())
    result = measure(model)
    require(
        all(torch.equal(before[name], value) for name, value in model.state_dict().items()),
        "measuring changes the model: batch norm's running averages are others afterwards.",
        Bug,
    )
    require(
        close(result, expected),
        f"a model in training mode gives {result:.4g}, in evaluation mode {expected:.4g}: they should be the same.",
        Bug,
    )
    require(model.training, "a model that came in training mode leaves in evaluation mode. Training would go on so.")
    require(not any(model.gradients), "gradients are recorded while measuring, which costs memory.")


def after_permuting():
    """All images have their pixels shuffled, by one fixed permutation. How does the convolutional model fare?

    It is trained and tested on shuffled MNIST, beside lesson 1's dense model, with 32 numbers each.
    "unchanged": its error is what it was, within a tenth.
    "ahead": its error grows, and is still below the dense model's.
    "behind": its error grows above the dense model's.
    """
    return "behind"


@check(
    "3.6",
    after_permuting,
    hints=(
        "A kernel of 3×3 looks at pixels side by side. What do those have in common after the shuffle?",
        "What can the dense model do about a permutation of its inputs that is the same for all images?",
    ),
    prediction=True,
)
def _after_permuting(answer):
    choice = require_choice(answer, "unchanged", "ahead", "behind")
    require(
        choice != "unchanged", "the pixels are all there, but neighbours are no longer neighbours. Run on and compare."
    )
    require(choice != "ahead", "it still has its parameters; but what are they good for now? Run on and compare.")
