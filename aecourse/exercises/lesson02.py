"""Exercises of lesson 2."""

import copy
import math
import random

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F

from aecourse import corruption, losses, metrics, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    observe,
    prediction,
    require,
    require_any_device,
    require_normal,
    require_number,
    require_same,
    require_same_gradients,
    require_several,
    require_tensor,
)
from aecourse.losses import squared_error
from aecourse.training import default_device


def corrupted(answer, x, *arguments):
    """The images as an answer corrupts them; refused unless shape, dtype and device are kept."""
    result = call(answer, x, *arguments, sampled=True)
    require_tensor(result, x.shape, f"for images of the shape {tuple(x.shape)}, what it returns", device=x.device)
    return result


def require_fresh(answer, *inputs):
    """Refuse a corruption that is not sampled anew in every call, or not with torch. inputs: on the CPU."""
    state = torch.get_rng_state()
    first, second = (corrupted(answer, *inputs) for _ in range(2))
    require(not torch.equal(first, second), "two calls return the same. Sample anew in every call, with no seed.")
    torch.set_rng_state(state)
    again = corrupted(answer, *inputs)
    require(torch.equal(first, again), "after the same torch.manual_seed it returns something else: sample with torch.")


# 2.1 add_noise

noise = Exercise(
    "2.1",
    corruption.add_noise,
    hints=(
        "torch.randn_like(x) samples one number from N(0, 1) for every pixel of every image.",
        "Multiplied by sigma, such a number has the standard deviation sigma.",
        "clamp(0, 1) sets what lies below 0 to 0 and what lies above 1 to 1, and leaves all other values as they are.",
    ),
)


@noise.check
def _(answer):
    x = (0.3 + 0.4 * torch.rand(4000, 2, 3, 4)).to(default_device())  # so far from 0 and 1 that nothing is clipped
    added = (corrupted(answer, x, 0.06) - x).cpu()
    require_any_device(answer, x, 0.06)
    require(added.isfinite().all(), "some pixels are nan or infinite.")
    changed = (added != 0).float().mean().item()
    observe(changed, 0, 0.02)
    require(changed > 0.99, f"{changed:.0%} of the pixels change; every pixel gets noise.")
    require_fresh(answer, torch.rand(2, 3, 7, 5), 0.1)
    require((added[1:] - added[:1]).abs().max() > 1e-5, "all images of a batch get the same noise.")
    dark = (x < 0.5).cpu()
    strengths = torch.stack([added[dark].std(), added[~dark].std()])
    where = "at sigma = 0.06, the noise's standard deviation (on darker, on brighter pixels)"
    require_same(strengths, torch.full((2,), 0.06), where, rtol=0.06, atol=0)
    neighbours = added.flatten(1)[:, [0, 1, 4, 12]]  # in a row, in a column, in the other channel
    require_normal(neighbours, torch.zeros(4), torch.full((4,), 0.06), "at sigma = 0.06, the noise of four neighbours")

    x = 0.3 + 0.4 * torch.rand(5, 3, 40, 30, device=x.device)
    sigma = torch.tensor([0.01, 0.07, 0.03, 0.05, 0.02], device=x.device)
    strengths = (corrupted(answer, x, sigma.view(5, 1, 1, 1)) - x).flatten(1).std(dim=1)
    require_same(strengths, sigma, "with one sigma for each image, the noise's standard deviation", rtol=0.1, atol=0)

    levels = torch.tensor([0.0, 0.2, 0.9])
    y = corrupted(answer, levels.to(x.device).view(3, 1, 1, 1).repeat(1, 2, 64, 48), 1).cpu()
    low, high = y.min().item(), y.max().item()
    observe([low < 0, high > 1])
    require(0 <= low and high <= 1, f"pixels run from {low:.3g} to {high:.3g}: clip them to [0, 1].")
    fractions = torch.stack([(y == end).float().mean(dim=(1, 2, 3)) for end in (0, 1)])
    right = Normal(0.0, 1.0).cdf(torch.stack([-levels, levels - 1]))
    where = "at sigma = 1, the fraction of images of 0, 0.2 and 0.9 that ends (black, white)"
    require_same(fractions, right, where, rtol=0, atol=0.05)

    for shape in ((1, 1, 28, 28), (1, 3, 8, 6)):
        x = 0.4 + 0.2 * torch.rand(shape, device=x.device)
        strength = (corrupted(answer, x, torch.full((1, 1, 1, 1), 0.05, device=x.device)) - x).std()
        where = f"at sigma = 0.05, on one image of the shape {shape}, the noise's standard deviation"
        require_same(strength, 0.05, where, rtol=0.4, atol=0)
        require_same(corrupted(answer, x, 1e-12), x, "at sigma = 1e-12, an image with almost no noise")


noise.add_mistakes(
    lambda added: lambda x, sigma: (x + added(x, sigma)).clamp(0, 1),
    uniform_from_0=(
        "the noise is never negative: it makes every image brighter. Gaussian noise has the mean 0.",
        lambda x, s: s * torch.rand_like(x),
    ),
    clips_the_noise=(
        "only positive noise is left: it is clipped before it is added. Clip the sum.",
        lambda x, s: (s * torch.randn_like(x)).clamp(0, 1),
    ),
    shared_over_the_batch=(
        "all images of a batch get the same noise. Each image needs its own.",
        lambda x, s: s * torch.randn_like(x[0]),
    ),
    shared_within_an_image=(
        "pixels of one image share their noise. Each pixel of each channel needs its own.",
        lambda x, s: s * torch.randn_like(x[:, :1, :1, :1]),
    ),
    sigma_squared=("the noise has the standard deviation sigma², not sigma.", lambda x, s: s**2 * torch.randn_like(x)),
    root_of_sigma=(
        "the noise has the standard deviation √sigma: sigma is no variance.",
        lambda x, s: s**0.5 * torch.randn_like(x),
    ),
    no_sigma=("the noise is equally strong for every sigma. Is sigma used?", lambda x, s: torch.randn_like(x)),
    one_number_only=(
        "sigma is a number, or one for each image as (batch, 1, 1, 1): yours takes only a number.",
        lambda x, s: float(s) * torch.randn_like(x),
    ),
)


@noise.mistake("the image is rescaled; clipping changes only those pixels that leave [0, 1].")
def rescaled(x, sigma):
    x = x + sigma * torch.randn_like(x)
    return (x - x.min()) / (x.max() - x.min())


@noise.mistake("every call gives the same noise. Is a seed set inside?")
def seeds_inside(x, sigma):
    torch.manual_seed(0)
    return corruption.add_noise(x, sigma)


@noise.mistake("pixels leave [0, 1]. Is the sum clipped?")
def not_clipped(x, sigma):
    return x + sigma * torch.randn_like(x)


# 2.2 knock_out

hole = Exercise(
    "2.2",
    corruption.knock_out,
    hints=(
        "torch.randint(n, (batch,)) samples whole numbers from 0 to n - 1. How many values may top have?",
        "A loop over the images is fine: clone x first, then set out[i, :, top:top + size, left:left + size] = 0.",
        "Top and left are two samples, and both may be as large as 28 - size: then the square touches the edge.",
    ),
)


@hole.check
def _(answer):
    for n, channels, height, width, *size in ((4000, 2, 9, 12, 7), (200, 1, 28, 28), (1, 3, 20, 16, 5)):
        x = 0.1 + 0.9 * torch.rand(n, channels, height, width, device=default_device())  # nowhere black
        y = corrupted(answer, x, *size)
        side = size[0] if size else 12
        what = f"of images of {height}×{width}, " + (f"at size = {side}," if size else "called without a size,")
        lost, gray = (y != x).cpu(), ((y != x) & (y != 0)).float().mean().item()
        observe(gray, 0, 0.03)
        require(gray == 0, f"{what} {gray:.0%} of the pixels change to something else than 0.")
        holes = lost.any(dim=1)
        one_hole = (lost == holes[:, None]).all(dim=(1, 2, 3)).float().mean().item()
        observe(one_hole, 0, 0.03)
        require(one_hole == 1, f"{what} in {1 - one_hole:.0%} different pixels of the channels are set to 0.")
        changed = holes.any(dim=(1, 2)).float().mean().item()
        observe(changed, 0, 0.03)
        require(changed == 1, f"{what} {1 - changed:.1%} are unchanged.")
        rows, columns = holes.any(dim=2).int(), holes.any(dim=1).int()
        top, left = rows.argmax(dim=1), columns.argmax(dim=1)
        high, wide = height - rows.flip(1).argmax(dim=1) - top, width - columns.flip(1).argmax(dim=1) - left
        spans = torch.stack([high, wide, holes.sum(dim=(1, 2))], dim=1).float()
        square = (spans == torch.tensor([side, side, side**2])).all(dim=1).float().mean().item()
        observe([square, spans.mean(dim=0)], 0.04, 0.04)
        rows, columns, pixels = spans.mean(dim=0).tolist()
        require(
            square == 1,
            f"{what} {1 - square:.0%} have no square of {side}×{side} set to 0; on average {pixels:.4g} pixels are, "
            f"which span {rows:.3g} rows and {columns:.3g} columns.",
        )
        if n == 4000:
            positions = torch.zeros(height - side + 1, width - side + 1)
            positions.index_put_((top, left), torch.tensor(1 / n), accumulate=True)
            require(positions.max() < 0.99, f"{what} all have the square at the same position.")
            where = f"{what} the fraction whose square begins at (row, column)"
            require_same(positions, torch.full_like(positions, 1 / positions.numel()), where, rtol=0, atol=0.02)
    require_fresh(answer, torch.rand(5, 1, 28, 28), 6)
    require_any_device(answer, x)


def positions_in(x, size):
    """As many tops and lefts as there are images, all right."""
    height, width = x.shape[-2:]
    return torch.randint(height - size + 1, (len(x),)), torch.randint(width - size + 1, (len(x),))


def square_of(x, top, left, size):
    """Images with these squares set to 0."""
    out = x.clone()
    for image, i, j in zip(out, top, left):
        image[:, i : i + size, j : j + size] = 0
    return out


hole.add_mistakes(
    lambda positions: lambda x, size=12: square_of(x, *positions(x, size), size),
    off_by_one=(
        "the square never begins at the last row or column where it still fits. Where does randint end?",
        lambda x, size: positions_in(x, size + 1),
    ),
    over_the_edge=("some squares extend beyond the edge and are cut off there.", lambda x, size: positions_in(x, 1)),
    left_from_the_height=(
        "the square never reaches the right edge: height and width of an image may differ.",
        lambda x, size: torch.randint(x.shape[2] - size + 1, (2, len(x))),
    ),
    rounds=(
        "positions at the edge are half as likely as the others. Is something rounded?",
        lambda x, size: [(torch.rand(len(x)) * (side - size)).round().long() for side in x.shape[2:]],
    ),
    same_position=(
        "the square has the same position in all images of a batch. Sample one for each.",
        lambda x, size: [position[:1].expand(len(x)) for position in positions_in(x, size)],
    ),
    pythons_random=(
        "torch.manual_seed does not make it repeatable: sample the positions with torch.",
        lambda x, size: [[random.randint(0, side - size) for _ in x] for side in x.shape[2:]],
    ),
)


@hole.mistake("rows and columns are not sampled independently: top and left are two samples.")
def one_sample_for_both(x, size=12):
    position = torch.rand(len(x))
    top, left = ((position * (side - size + 1)).long() for side in x.shape[-2:])
    return square_of(x, top, left, size)


@hole.mistake("the square is kept and everything else is set to 0; it should be the other way round.")
def the_rest(x, size=12):
    return x - corruption.knock_out(x, size)


@hole.mistake("the square has another size than given, and does not fit into small images. Is size used?")
def ignores_the_size(x, size=12):
    return square_of(x, *positions_in(x, 12), 12)


# 2.3 psnr

decibels = Exercise(
    "2.3",
    metrics.psnr,
    hints=(
        "mse(x_hat, x), of lesson 1, is the mean squared error per pixel over all images.",
        "One decibel is a tenth of a power of ten: an error of 0.1 is 10 dB, one of 0.01 is 20 dB.",
        "torch.tensor(number).log10() takes the logarithm, of 0 too: it is minus infinity.",
    ),
)


@decibels.check
def _(answer):
    for what, shape, strengths in (
        ("for three images with weak, with stronger and with very strong noise", (3, 1, 8, 6), (0.05, 0.3, 0.9)),
        ("for images of three channels", (2, 3, 9, 5), (0.2, 0.1)),
        ("for rows of numbers", (5, 7), (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("for a single image", (1, 1, 28, 28), (0.3,)),
        ("for reconstructions that are mostly noise", (4, 1, 3, 5), (2.0, 3.0, 2.0, 5.0)),
        ("for images that differ very little", (2, 1, 28, 28), (1e-3, 2e-3)),
        ("for two equal batches", (3, 1, 6, 4), (0.0, 0.0, 0.0)),
    ):
        error = torch.randn(shape) * torch.tensor(strengths).view(-1, *[1] * (len(shape) - 1))
        x = (0.1 + 0.7 * torch.rand(shape)).to(default_device())
        x_hat = (x + error.to(x.device)).clamp(0, 1)
        result = call(answer, x_hat, x)
        tensor = torch.is_tensor(result)
        require(not tensor, f"{what} it returns a tensor of the shape {tensor and tuple(result.shape)}, not a float.")
        result = require_number(result, f"{what} what it returns")
        require_same(float(result), metrics.psnr(x_hat, x), f"{what} the PSNR")


decibels.add_mistakes(
    lambda of_error: lambda x_hat, x: float(of_error(torch.tensor(metrics.mse(x_hat, x)), x)),
    wrong_sign=("better reconstructions have a lower PSNR. Check the sign.", lambda mse, x: 10 * mse.log10()),
    natural_logarithm=("it takes the natural logarithm; PSNR has the one to base 10.", lambda mse, x: -10 * mse.log()),
    twenty=(
        "it is twice the PSNR: the factor 20 belongs to the root of the squared error.",
        lambda mse, x: -20 * mse.log10(),
    ),
    bel=("that is in bel; a bel is ten decibels.", lambda mse, x: -mse.log10()),
    peak_of_bytes=("the peak is 1 here, not 255.", lambda mse, x: 10 * (255**2 / mse).log10()),
    peak_of_x=(
        "its peak is the brightest pixel of x; the peak is always 1.",
        lambda mse, x: 10 * (x.max() ** 2 / mse).log10(),
    ),
    range_of_x=(
        "its peak is the range of the pixels of x; the peak is always 1.",
        lambda mse, x: 10 * ((x.max() - x.min()) ** 2 / mse).log10(),
    ),
    error_of_an_image=(
        "squared errors are summed over the pixels; take their mean.",
        lambda mse, x: -10 * (mse * x[0].numel()).log10(),
    ),
    small_number_added=(
        "equal images have an infinite PSNR: add nothing to the error, and return no number of your own.",
        lambda mse, x: -10 * (mse + 1e-10).log10(),
    ),
    logarithm_of_0=(
        "two equal images raise an error: their mean squared error is 0, and math.log10 does not take 0.",
        lambda mse, x: -10 * math.log10(mse),
    ),
)
decibels.add_mistakes(
    averaged_over_images=(
        "it averages the PSNR of single images. Average the squared errors first.",
        lambda x_hat, x: -10 * (x_hat - x).square().flatten(1).mean(dim=1).log10().mean().item(),
    ),
)

# 2.4 linear_denoiser

linear = Exercise(
    "2.4",
    models.linear_denoiser,
    hints=(
        "Subtract their means from inputs and targets. What is left is a least squares problem without intercept.",
        "With A the centred inputs and B the centred targets, the weight W solves AᵀA W = AᵀB: torch.linalg.solve.",
        "The bias puts the means back: it has to map the mean input to the mean target.",
    ),
)


@linear.check
def _(answer):
    for n, height, width, black in ((200, 2, 3, 0), (300, 4, 5, 2), (50, 1, 7, 0)):
        pixels = height * width
        mix = (torch.eye(pixels) + 0.5 * torch.rand(pixels, pixels)) / (1 + pixels / 8)  # all pixels differ
        clean = torch.rand(n, pixels) @ mix
        clean[:, :black] = 0  # like the corners of digits
        noise = torch.linspace(0.2, 0.7, pixels) * torch.randn(n, pixels)
        noisy = torch.linspace(0.1, 0.5, pixels) + 0.8 * clean + noise
        noisy, clean = (x.view(n, 1, height, width).to(default_device()) for x in (noisy, clean))
        result, right = call(answer, noisy, clean), models.linear_denoiser(noisy, clean)
        require_several(result, ("weight", "bias"))
        on = f"of {n} images of {height}×{width}" + (", some pixels black in all clean ones," if black else "")
        for value, wanted, name in zip(result, right, ("weight", "bias")):
            require_tensor(value, wanted.shape, f"the {name} {on}", device=noisy.device)
            require(not value.requires_grad, f"the {name} carries a gradient; nothing here is trained.")
            require_same(value, wanted, f"the {name} {on}", rtol=1e-3, atol=1e-3)


def through_the_means(weight_of):
    """An answer to 2.4 from a formula for the weight, of centred inputs and targets. The bias puts the means back."""

    def answer(x_noisy, x_clean):
        a, b = x_noisy.flatten(1), x_clean.flatten(1)
        weight = weight_of(a - a.mean(0), b - b.mean(0))
        return weight, b.mean(0) - a.mean(0) @ weight

    return answer


linear.add_mistakes(
    through_the_means,
    every_pixel_for_itself=(
        "it estimates every pixel from itself alone. The best estimate uses all pixels.",
        lambda a, b: ((a * b).sum(0) / a.square().sum(0)).diag(),
    ),
    covariance_alone=(
        "it is the covariance of noisy and clean pixels. The covariance of the noisy pixels is left out.",
        lambda a, b: a.T @ b / len(a),
    ),
    ridge=(
        "it shrinks the weights, as ridge regression does. Is something added to AᵀA?",
        lambda a, b: torch.linalg.solve(a.T @ a + torch.eye(a.shape[1], device=a.device), a.T @ b),
    ),
)
linear.add_mistakes(
    swapped=(
        "it predicts the noisy images from the clean ones.",
        lambda x_noisy, x_clean: models.linear_denoiser(x_clean, x_noisy),
    ),
    bias_is_the_mean=(
        "the weight is right; the bias is not. What should the mean input be mapped to?",
        lambda x_noisy, x_clean: (models.linear_denoiser(x_noisy, x_clean)[0], x_clean.flatten(1).mean(0)),
    ),
)


@linear.mistake("the bias is 0, but the best line does not pass through the origin.")
def no_intercept(x_noisy, x_clean):
    weight = torch.linalg.lstsq(x_noisy.flatten(1), x_clean.flatten(1)).solution
    return weight, torch.zeros_like(weight[0])


@linear.mistake("the weight is that of a fit through the origin. Centre before you fit.")
def intercept_afterwards(x_noisy, x_clean):
    weight, _ = no_intercept(x_noisy, x_clean)
    return weight, (x_clean.flatten(1) - x_noisy.flatten(1) @ weight).mean(0)


@linear.mistake("the weight is transposed: images are rows and stand to its left.")
def transposed(x_noisy, x_clean):
    weight, bias = models.linear_denoiser(x_noisy, x_clean)
    return weight.T, bias


@linear.mistake("one mean is subtracted from all pixels. Each pixel has a mean of its own, over the images.")
def one_mean_for_all_pixels(x_noisy, x_clean):
    weight, _ = no_intercept(x_noisy - x_noisy.mean(), x_clean - x_clean.mean())
    return weight, x_clean.mean() - x_noisy.mean() * weight.sum(0)


@linear.mistake("it fails where a pixel is black in all clean images. Is something divided by its standard deviation?")
def standardised(x_noisy, x_clean):
    scale = x_clean.std(0)
    weight, bias = models.linear_denoiser(x_noisy, x_clean / scale)
    return weight * scale.flatten(), bias * scale.flatten()


# 2.5 denoising_loss

loss = Exercise(
    "2.5",
    losses.denoising_loss,
    hints=(
        "Which loss would a model have that returns its input unchanged? Which should it have?",
        "The noisy image is the input. What is the target?",
    ),
)


class Watched(nn.Module):
    """A network that records its inputs."""

    def __init__(self, *layers):
        super().__init__()
        self.network, self.inputs = nn.Sequential(*layers), []

    def forward(self, x):
        """The network's output for x."""
        self.inputs.append(x.detach().clone())
        return self.network(x)


class Contrast(Watched):
    """A corruption that differs from call to call and leaves [0, 1]."""

    def forward(self, x):
        """Images with more contrast."""
        return 1.5 * super().forward(x) - 0.1 * len(self.inputs)


@loss.check
def _(answer):
    layers = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.4))
    real = Watched(layers, nn.Conv2d(6, 1, 5, padding=2), nn.Sigmoid())
    for n, network, what in (
        (3, Watched().eval(), "and a model that returns its input unchanged"),
        (3, real.train(), "and a network in training mode, with batch norm and dropout"),
        (5, copy.deepcopy(real).eval(), "and a network in evaluation mode"),
        (1, copy.deepcopy(real).eval(), "and a network in evaluation mode"),
    ):
        x = (torch.rand(n, 1, 28, 28) - 0.4).clamp(min=0) * torch.linspace(0.5, 1.6, n).view(n, 1, 1, 1)
        x, network, what = x.to(default_device()), network.to(default_device()), f"with {n} images {what},"
        twin, corrupt = copy.deepcopy(network), Contrast()
        with torch.random.fork_rng():
            torch.manual_seed(n)
            right = losses.denoising_loss(twin, x, Contrast())
        with torch.random.fork_rng():
            torch.manual_seed(n)  # the same dropout
            result = call(answer, network, x, corrupt, sampled=n == 3)
        for function, given in (("corrupt", corrupt.inputs), ("the model", network.inputs)):
            observe(len(given))
            require(len(given) == 1, f"{what} {function} is called {len(given)} times for one loss.")
        require_same(corrupt.inputs[0], x, f"{what} the input of corrupt")
        require_same(network.inputs[0], twin.inputs[0], f"{what} the input of the model")
        require_tensor(result, (), f"{what} the loss", device=x.device)
        require_same(result, right, f"{what} the loss")
        weights, right_weights = (dict(net.named_parameters()) for net in (network, twin))
        require_same_gradients(result, right, weights, f"{what} the loss", right_weights)
    result = call(answer, torch.sqrt, torch.rand(2, 1, 28, 28, device=x.device), torch.square)
    require_same(result, torch.tensor(0.0), "with two functions, one of which undoes the other, the loss", atol=1e-3)


@loss.given("a model that returns the noisy image unchanged has a loss of 0.")
def the_bug_itself(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    x_hat = denoise(x)
    return squared_error(x_hat, x).mean()


loss.add_mistakes(
    corrupts_twice=(
        "for one loss the images are corrupted twice, and not in the same way.",
        lambda denoise, x_clean, corrupt: squared_error(denoise(corrupt(x_clean)), corrupt(x_clean)).mean(),
    ),
    ignores_corrupt=(
        "the loss does not depend on the corruption: corrupt is never called.",
        lambda denoise, x_clean, corrupt: squared_error(denoise(x_clean), x_clean).mean(),
    ),
    the_other_way_round=(
        "the input of the model is the clean images.",
        lambda denoise, x_clean, corrupt: squared_error(denoise(x_clean), corrupt(x_clean)).mean(),
    ),
)
loss.add_mistakes(
    lambda of_output: lambda denoise, x_clean, corrupt: of_output(denoise(corrupt(x_clean)), x_clean),
    averages_over_pixels=(
        "the loss is hundreds of times too small: it is averaged over the pixels as well as over the images.",
        F.mse_loss,
    ),
    sums_the_batch=(
        "the loss grows with the batch size: it sums over the images instead of averaging.",
        lambda x_hat, x: squared_error(x_hat, x).sum(),
    ),
    keeps_the_batch=("it is a loss for each image; the mean over the batch is wanted.", squared_error),
    absolute=(
        "a pixel with twice the error adds only twice as much to the loss.",
        lambda x_hat, x: (x_hat - x).abs().sum() / len(x),
    ),
    clips_the_output=(
        "pixels predicted outside [0, 1] add too little to the loss, and no gradient brings them back.",
        lambda x_hat, x: squared_error(x_hat.clamp(0, 1), x).mean(),
    ),
    detached=(
        "no gradient reaches the model: it could not learn from this loss.",
        lambda x_hat, x: squared_error(x_hat.detach(), x).mean(),
    ),
)


@loss.mistake("a model that returns the clean images has a loss above 0: the target is the noise.")
def predicts_the_noise(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    return squared_error(denoise(x), x - x_clean).mean()


# 2.6 linear or autoencoder?

prediction(
    "2.6",
    answer="linear",
    replies={
        "autoencoder": "it is nonlinear and could do more; but run on and compare the PSNR.",
        "same": "the two differ by more than a decibel. Run on and see which way.",
    },
    hints=(
        "How well does the autoencoder of lesson 1 reconstruct images that have no noise at all? In decibels?",
        "What 32 latent dimensions cannot represent is lost, with or without noise.",
    ),
)
