"""Checks of lesson 1."""

from numbers import Integral

import torch
from torch import nn

from aecourse import losses, models
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


@check(
    "1.1",
    losses.squared_error,
    hints=(
        "x_hat - x has one number per pixel. Square it; then every axis but the first has to go.",
        "flatten(start_dim=1) makes (batch, pixels) of a batch of any shape.",
        "The result for a batch of three images is a tensor of three numbers: sum over axis 1.",
    ),
)
def _squared_error(answer):
    x = torch.full((3, 1, 28, 28), 0.5)
    x_hat = x.clone()
    x_hat[0, 0, 0, 0] += 0.5  # one pixel off by a half
    x_hat[1, 0, :2, :2] -= 1  # four pixels off by one
    result = call(answer, x_hat, x)
    if torch.is_tensor(result) and result.ndim == 0:
        require(False, "three images give one number. Keep the batch axis: one error for each image.")
    require_tensor(result, (3,), "the error of three images")
    one, four, none = result.tolist()
    require(not (close(one, 0.5) and close(four, 2)), "four pixels off by 1 cost 2: there is a square root too many.")
    require(
        not (close(one, 0.5) and close(four, 4)), "one pixel that is off by 0.5 costs 0.5. Is the difference squared?"
    )
    require(not close(one * 784, 0.25), "it is 784 times too small: sum over the pixels, do not average them.")
    require(close(one, 0.25), f"one pixel off by 0.5 and 783 right ones cost {one:.4g}, not 0.25.")
    require(not close(four, 16), "four pixels off by 1 cost 16: square each difference before you sum, not after.")
    require(close(four, 4), f"four pixels off by -1 and 780 right ones cost {four:.4g}, not 4.")
    require(close(none, 0), f"two equal images have the error {none:.4g}, not 0.")

    x, x_hat = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8, requires_grad=True)
    expected = losses.squared_error(x_hat, x)
    result = call(answer, x_hat, x)
    require_tensor(result, (2,), "the error of two colour images of 8×8")
    require(close(result, expected), "it is right for 28×28 grey images only; images of 3×8×8 come out wrong.")
    require(result.requires_grad, "no gradient comes through: is there a detach, an item() or NumPy on the way?")
    result = call(answer, x_hat[:1], x[:1])
    require_tensor(result, (1,), "the error of a batch of one")


def _activations_removed(model, function, size):
    """How far a function is from a straight line: 0 if no activation bends it."""
    a, b = torch.randn(8, *size), torch.randn(8, *size)
    return (function(a + b) - function(a) - function(b) + function(torch.zeros_like(a))).abs().max().item()


@check(
    "1.2",
    models.DenseAutoencoder,
    hints=(
        "A linear layer wants (batch, features): flatten the images before the first one, from axis 1 on.",
        "In encode and in decode alike, a ReLU follows the first and the second layer. The code itself stays free.",
        "The last layer of decode gives 784 numbers of any size: sigmoid brings them to [0, 1], "
        "view(-1, 1, 28, 28) makes images of them.",
    ),
)
def _dense_autoencoder(answer):
    model = answer(latent_dim=5)
    x = torch.rand(3, 1, 28, 28)
    z = call(model.encode, x)
    require_tensor(z, (3, 5), "the code of three images at latent_dim=5")
    x_hat = call(model.decode, z)
    require_tensor(x_hat, (3, 1, 28, 28), "the decoding of three codes")
    require_tensor(call(model.encode, x[:1]), (1, 5), "the code of a batch of one")
    require_tensor(call(model.decode, z[:1]), (1, 1, 28, 28), "the decoding of a single code")
    require(close(model.encode(x)[:1], model.encode(x[:1])), "the code of an image depends on the others in its batch.")

    far = model.decode(1000 * torch.randn(64, 5))
    low, high = far.min().item(), far.max().item()
    require(low >= 0 and high <= 1, f"decoded pixels run from {low:.3g} to {high:.3g}, not from 0 to 1.")
    spread = 1e6 * torch.randn(256, 1, 28, 28)  # enough for weights of any usual size
    codes = model.encode(spread)
    require(codes.min() < 0, "no code is ever negative: is there a ReLU after the last layer of the encoder?")
    require(codes.abs().max() > 1, "every number of the code stays between -1 and 1: what squeezes it?")
    require(
        _activations_removed(model, model.encode, (1, 28, 28)) > 1e-4,
        "the encoder is linear: without a ReLU between them, three layers do no more than one.",
    )
    require(
        _activations_removed(model, lambda z: model.decode(z).logit(), (5,)) > 1e-3,
        "before its sigmoid the decoder is linear: without a ReLU between them, three layers do no more than one.",
    )
    loss = model.loss(x)["loss"]
    require_gradients(loss, model)
    wanted = models.DenseAutoencoder(latent_dim=5)
    ours, yours = models.count_parameters(wanted), models.count_parameters(model)
    require(yours == ours, f"it has {yours:,} parameters; 784 → 256 → 128 → 5 and back has {ours:,}.")
    layers = {(m.in_features, m.out_features): m for m in model.modules() if isinstance(m, nn.Linear)}
    if len(layers) == 6:  # the six layers, under whatever names: with the same weights both must agree
        for layer in wanted.children():
            layer.load_state_dict(layers[layer.in_features, layer.out_features].state_dict())
        require(
            close(model.encode(x), wanted.encode(x)),
            "with the same weights your code differs from 784 → ReLU → ReLU → code. "
            "Is there a ReLU after the first layer and after the second, and nothing after the third?",
        )
        require(
            close(model.decode(z), wanted.decode(z)),
            "with the same weights your decoding differs from code → ReLU → ReLU → sigmoid. "
            "Is there a ReLU after the first layer and after the second, and one sigmoid at the end?",
        )


@check(
    "1.3",
    models.count_parameters,
    hints=(
        "model.parameters() yields every weight and every bias, as tensors of any shape.",
        "A tensor's numel() is how many numbers it holds; its requires_grad says whether training changes them.",
    ),
)
def _count_parameters(answer):
    layer = nn.Linear(3, 2)
    result = call(answer, layer)
    require(result is not None, "it returns None. Is there a return?")
    require(isinstance(result, Integral), f"it returns a {type(result).__name__}; a whole number (int) is wanted.")
    require(result != 2, "a layer from 3 to 2 has 2: those are tensors. Count the numbers in them.")
    require(result != 6, "a layer from 3 to 2 has 6: that is the weights alone. Biases are learned too.")
    require(result == 8, f"a layer from 3 to 2 has 3·2 weights and 2 biases, 8 in all; you count {result}.")
    nested = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, 1))
    result = call(answer, nested)
    require(result == 31, f"layers inside layers: 4 → 5 → 1 has 31 parameters, you count {result}.")
    convolution = nn.Conv2d(2, 3, kernel_size=5)
    result = call(answer, convolution)
    require(result == 153, f"a 5×5 convolution from 2 to 3 channels has 153 parameters, you count {result}.")
    result = call(answer, _Scaled(1.0))
    require(result == 1, f"a module whose only parameter is its own, in no layer, has 1; you count {result}.")
    norm = nn.BatchNorm1d(7)
    result = call(answer, norm)
    require(result >= 14, f"batch norm of 7 channels learns 14 numbers, you count {result}: it has parameters too.")
    require(
        result == 14, f"batch norm of 7 channels learns 14 numbers, you count {result}: running means are not learned."
    )
    layer.weight.requires_grad_(False)
    result = call(answer, layer)
    require(result == 2, f"with its weights frozen the layer from 3 to 2 can change 2 numbers, you count {result}.")


def reconstruction_loss(model, x):
    """Squared error per image between x and its reconstruction, averaged over the batch.

    x: (batch, 1, 28, 28) in [0, 1]. Returns a scalar.
    """
    x_hat = model(x)
    return (x_hat - x).square().sum() / len(x)


class _Scaled(models.Autoencoder):
    """Returns its input times a number: a model whose loss can be worked out by hand."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def encode(self, x):
        return self.factor * x

    def decode(self, z):
        return z


@check(
    "1.4",
    reconstruction_loss,
    hints=(
        "Print x_hat.shape and target.shape for a batch of three, and the shape of their difference.",
        "When shapes differ, PyTorch stretches the shorter one: every reconstruction meets every image of the batch.",
    ),
)
def _reconstruction_loss(answer):
    x = torch.rand(3, 1, 28, 28) * (torch.rand(3, 1, 28, 28) > 0.5)  # with black pixels, as digits have
    energy = x.square().sum().item() / 3
    result = call(answer, _Scaled(0.0), x[:1])
    require_tensor(result, (), "the loss of a batch of one")
    result = call(answer, _Scaled(1.0), x)
    require_tensor(result, (), "the loss of three images")
    require(
        close(result, 0.0),
        f"a model that returns three images untouched makes no error, and yet its loss is {result.item():.4g}.",
        Bug,
    )
    result = call(answer, _Scaled(0.0), x).item()
    twice = call(answer, _Scaled(0.0), x.repeat(2, 1, 1, 1)).item()
    require(
        close(result, twice),
        f"the same three images twice over change the loss from {result:.4g} to {twice:.4g}: divide by the batch.",
    )
    require(not close(result * 784, energy), "it is 784 times too small: sum over the pixels, average over the images.")
    require(
        close(result, energy), f"a black reconstruction of three images costs {energy:.4g}; yours says {result:.4g}."
    )
    result = call(answer, _Scaled(0.5), x).item()
    require(close(result, energy / 4), f"half the right brightness costs {energy / 4:.4g}; yours says {result:.4g}.")
    model = _Scaled(0.5)
    loss = call(answer, model, x)
    require(model.factor.grad is None and model.factor.item() == 0.5, "it trains the model; a loss only measures.")
    require_gradients(loss, model)
    negative = call(answer, _Scaled(-1.0), x).item()
    require(close(negative, 4 * energy), f"a reconstruction of -x costs {4 * energy:.4g}; yours says {negative:.4g}.")
    bright = call(answer, lambda x: x + 1, x).item()
    require(close(bright, 784), f"784 pixels that are too bright by 1 cost 784; yours says {bright:.4g}.")


def costs_more():
    """Which changes an MNIST image more, counted in squared error?

    "shift": the whole digit moved one pixel to the right, nothing else touched.
    "gap": the 5×5 pixels with the most ink rubbed out.
    "same": the two differ by less than a tenth.
    """
    return "shift"


@check(
    "1.5",
    costs_more,
    hints=(
        "Every pixel at an edge of a stroke changes when the digit moves. How many are there, next to 25?",
        "A stroke is two or three pixels wide. After one step to the right, how much of it still overlaps itself?",
    ),
    prediction=True,
)
def _costs_more(answer):
    choice = require_choice(answer, "shift", "gap", "same")
    require(
        choice != "gap", "the gap is plain to the eye, but it is only 25 pixels. Run on and compare the two errors."
    )
    require(choice != "same", "the two differ by far more than a tenth. Run on and compare the two errors.")


@check(
    "1.6",
    models.SparseAutoencoder,
    hints=(
        "encode is one linear layer on the flattened images, with a ReLU after it.",
        "In loss, call encode once and keep z: the penalty needs it, and decode(z) is the reconstruction.",
        "Σ|z| of an image is a sum over axis 1; average it over the batch as squared_error is averaged.",
    ),
)
def _sparse_autoencoder(answer):
    model, wanted = answer(latent_dim=6, penalty=0.25), models.SparseAutoencoder(latent_dim=6, penalty=0.25)
    layers = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    require(
        layers == {name: tuple(parameter.shape) for name, parameter in wanted.named_parameters()},
        "keep the two layers that __init__ makes, encoder and decoder: the lesson looks at their weights.",
    )
    # Weights made for the check: on any image some units of the code are on and some are off.
    for parameter in wanted.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    wanted.encoder.bias.data = torch.tensor([50.0, 30.0, 10.0, -50.0, -30.0, -50.0])
    model.load_state_dict(wanted.state_dict())

    x = torch.rand(3, 1, 28, 28)
    z, correct = call(model.encode, x), wanted.encode(x)
    require_tensor(z, (3, 6), "the code of three images at latent_dim=6")
    require_tensor(call(model.encode, x[:1]), (1, 6), "the code of a batch of one")
    require(z.min() >= 0, "some numbers of the code are negative: a ReLU has to follow the linear layer.")
    require((z == 0).any(), "no number of the code is ever exactly 0, as a ReLU would make it.")
    require(z.any(), "every number of the code is 0, whatever the image.")
    require(close(z, correct), "with the same weights your code differs from one linear layer and one ReLU.")
    require(close(model.decode(z), wanted.decode(z)), "decode, which was given, draws something else now.")

    terms, correct = call(model.loss, x), wanted.loss(x)
    require(isinstance(terms, dict), f"loss returns a {type(terms).__name__}; a dictionary of three terms is wanted.")
    for name in ("loss", "reconstruction", "l1"):
        require(name in terms, f'the dictionary has no entry "{name}".')
    for name, value in terms.items():
        require_tensor(value, (), f'the entry "{name}"')
    l1, sought = terms["l1"].item(), correct["l1"].item()
    require(
        not close(l1 * 6, sought), "l1 is 6 times too small at 6 units: sum over the code, average over the images."
    )
    require(not close(l1, sought * 3), "l1 is 3 times too large for three images: average over the batch.")
    require(
        not close(l1, sought / 4), "l1 holds the penalty already. Report Σ|z| itself; the factor belongs in the loss."
    )
    require(
        close(l1, sought), f"l1 is {l1:.4g} where Σ|z| per image is {sought:.4g}: a sum of absolute values of the code?"
    )
    reconstruction, sought = terms["reconstruction"].item(), correct["reconstruction"].item()
    require(
        close(reconstruction, sought),
        f"reconstruction is {reconstruction:.4g} where the squared error per image is {sought:.4g}.",
    )
    loss, sought = terms["loss"].item(), correct["loss"].item()
    require(not close(loss, reconstruction), "the loss leaves the penalty out.")
    require(not close(loss, reconstruction + l1), "the loss adds l1 at full weight, whatever the penalty.")
    require(close(loss, sought), f"the loss is {loss:.4g}; reconstruction + penalty · l1 is {sought:.4g}.")

    require(all(p.grad is None for p in model.parameters()), "loss calls backward; that is the training loop's part.")
    require_gradients(terms["loss"], model)
    (gradient,) = torch.autograd.grad(model.loss(x)["loss"], [model.encoder.weight])
    (sought,) = torch.autograd.grad(correct["loss"], [wanted.encoder.weight])
    require(
        close(gradient, sought),
        "the loss has the right value, but its gradient misses a part of what the encoder owes: is something detached?",
    )
