"""Checks of lesson 2."""

from numbers import Real

import torch

from aecourse import metrics
from aecourse.exercises.checks import Bug, Wrong, call, check, close, require, require_choice, require_tensor
from aecourse.losses import squared_error


def add_noise(x, sigma):
    """Add Gaussian noise to every pixel, and clip to [0, 1].

    x: (batch, channels, height, width) in [0, 1].
    sigma: the noise's standard deviation, a number, or one for each image as (batch, 1, 1, 1).
    Returns the shape of x.
    """
    return (x + sigma * torch.randn_like(x)).clamp(0, 1)


def _damaged(answer, x, *arguments):
    """Call a learner's corruption and refuse what no corruption should do."""
    copy = x.clone()
    x_noisy = answer(x, *arguments)
    require(torch.equal(x, copy), "it changes its input in place; the clean image is still needed as the target.")
    require_tensor(x_noisy, x.shape, f"the damaged batch of {len(x)}")
    require(x_noisy.dtype == x.dtype, f"images of {x.dtype} come back as {x_noisy.dtype}; no network takes both.")
    require(x_noisy.isfinite().all(), "some pixels are nan or infinite: is something divided by 0?")
    return x_noisy


def _require_own_randomness(answer, x, *arguments):
    """Refuse a corruption that is not drawn anew in every call, or not from torch's random state."""
    first, second = answer(x, *arguments), answer(x, *arguments)
    require(not torch.equal(first, second), "two calls give the same damage: draw it anew in every call, with no seed.")
    state = torch.get_rng_state()
    again = [(torch.set_rng_state(state), answer(x, *arguments))[1] for _ in range(2)]
    require(torch.equal(*again), "after the same torch.manual_seed it gives other damage: draw it with torch.")


@check(
    "2.1",
    add_noise,
    hints=(
        "torch.randn_like(x) draws one number from N(0, 1) for every pixel of every image.",
        "Multiplied by sigma, such a number has the standard deviation sigma.",
        "clamp(0, 1) sets what lies below 0 to 0 and what lies above 1 to 1, and touches nothing else.",
    ),
)
def _add_noise(answer):
    ramp = torch.linspace(0.2, 0.7, 784).view(1, 1, 28, 28)
    still, again = (_damaged(answer, ramp, 1e-12) for _ in range(2))
    require(close(still, again), "at sigma = 0 there is still noise: its strength should follow sigma.")
    moved = (still - ramp).abs().max().item()
    require(moved < 1e-4, f"with no noise at all, pixels move by up to {moved:.2g}: is the image rescaled or squeezed?")

    x = torch.full((64, 3, 28, 28), 0.5)
    noise = _damaged(answer, x, 0.1) - x
    require(noise.any(), "it returns the image as it was.")
    _require_own_randomness(answer, x, 0.1)
    dark = _damaged(answer, torch.zeros(64, 1, 28, 28), 0.1)
    require(dark.any(), "black pixels stay black: the noise should not depend on the image.")
    mean, std = noise.mean().item(), noise.std().item()
    axes = ("images of a batch", "channels", "rows", "columns")
    shared = [name for axis, name in enumerate(axes) if not noise.std(dim=axis).mean() > std / 2]
    require(not shared, f"all {' and '.join(shared)} get the same noise: every pixel gets its own.")
    require(abs(mean) < 0.003, f"the noise has the mean {mean:.3g}, not 0: it makes images brighter or darker.")
    require(abs(std / 0.01 - 1) > 0.1, "at sigma = 0.1 the noise has the standard deviation 0.01: sigma, not sigma².")
    require(abs(std / 0.1**0.5 - 1) > 0.2, "at sigma = 0.1 the standard deviation is 0.3: is a root taken of sigma?")
    far = (noise.abs() > 2 * std).float().mean().item()  # 0.0455 ± 0.0005
    require(
        0.042 < far < 0.049,
        f"{far:.1%} of the noise lies beyond two of its standard deviations; of Gaussian noise it is 4.6%.",
    )
    require(abs(std / 0.1 - 1) < 0.05, f"at sigma = 0.1 the noise has the standard deviation {std:.3g}.")

    x_noisy = _damaged(answer, torch.full((64, 1, 28, 28), 0.2), 0.5)
    low, high = x_noisy.min().item(), x_noisy.max().item()
    require(0 <= low and high <= 1, f"pixels run from {low:.3g} to {high:.3g}: clip them to [0, 1].")
    black, white = (x_noisy == 0).float().mean().item(), (x_noisy == 1).float().mean().item()
    # P(0.2 + 0.5 n <= 0) = 0.345, P(0.2 + 0.5 n >= 1) = 0.055, both ± 0.002
    require(
        abs(black - 0.345) < 0.02 and abs(white - 0.055) < 0.01,
        f"of pixels of 0.2 at sigma = 0.5, 34% should end at 0 and 5% at 1; yours: {black:.0%} and {white:.0%}.",
    )
    sigma = torch.tensor([1e-12, 0.2]).view(2, 1, 1, 1)
    by_image = (_damaged(answer, torch.full((2, 3, 32, 32), 0.5), sigma) - 0.5).flatten(1).std(dim=1)
    require(
        by_image[0] < 1e-4 and abs(by_image[1] - 0.2) < 0.02,
        f"one sigma for each image, 0 and 0.2, makes noise of {by_image[0]:.2g} and {by_image[1]:.2g}.",
    )


def knock_out(x, size=12):
    """Set a square of size×size pixels to 0, at a random place of its own in each image.

    x: (batch, channels, height, width). The square lies within the image, every place equally likely.
    Returns the shape of x.
    """
    height, width = x.shape[-2:]
    top = torch.randint(height - size + 1, (len(x), 1, 1, 1), device=x.device)
    left = torch.randint(width - size + 1, (len(x), 1, 1, 1), device=x.device)
    row = torch.arange(height, device=x.device).view(-1, 1)
    column = torch.arange(width, device=x.device)
    inside = (row >= top) & (row < top + size) & (column >= left) & (column < left + size)
    return x.masked_fill(inside, 0)


@check(
    "2.2",
    knock_out,
    hints=(
        "torch.randint(n, (batch,)) draws whole numbers from 0 to n - 1. How many places has the square's top row?",
        "A loop over the images is fine: clone x first, then set out[i, :, top:top + size, left:left + size] = 0.",
        "Top and left are two draws, and both may be as large as 28 - size: then the square touches the edge.",
    ),
)
def _knock_out(answer):
    _require_holes(answer, torch.rand(600, 1, 28, 28) * 0.9 + 0.1, 12)  # nowhere black
    _require_holes(answer, torch.rand(600, 3, 20, 24) * 0.9 + 0.1, 5)
    lost = (_damaged(answer, torch.ones(1, 1, 28, 28)) == 0).sum()
    require(lost == 144, f"called without a size, it makes a hole of {lost} pixels; the default is 12×12.")


def _require_holes(answer, x, size):
    """Refuse holes in these images, nowhere black, that are not squares, or not anywhere with equal chances."""
    height, width = x.shape[-2:]
    out = _damaged(answer, x, size)
    gone = out != x
    require(gone.any(), "it returns the images as they were.")
    require((out[gone] == 0).all(), "pixels change to something else than 0.")
    untouched = (~gone.flatten(1).any(dim=1)).sum()
    require(untouched == 0, f"{untouched} of {len(x)} images have no hole.")
    require((gone == gone[:, :1]).all(), "the channels of an image lose different pixels.")
    gone = gone[:, 0]
    share = gone.float().mean().item()
    require(share < 0.5, f"{share:.0%} of the pixels go black: is it what lies around the square?")
    require((gone != gone[:1]).any(), "the hole is in the same place in every image: draw a place for each.")
    _require_own_randomness(answer, x, size)
    rows, columns = gone.any(dim=2), gone.any(dim=1)
    require(not (rows.all() or columns.all()), "whole rows or columns go black: the square ends on all four sides.")
    top, left = rows.int().argmax(dim=1), columns.int().argmax(dim=1)
    bottom, right = height - rows.flip(1).int().argmax(dim=1), width - columns.flip(1).int().argmax(dim=1)
    count = gone.flatten(1).sum(dim=1)
    filled = count / ((bottom - top) * (right - left))
    require(
        (filled == 1).all(),
        f"the lost pixels fill only {filled.mean():.0%} of the rectangles around them: a square, in one piece.",
    )
    require(
        count.min() == count.max(), f"holes have {count.min()} to {count.max()} pixels: do some hang over the edge?"
    )
    high, wide = bottom[0] - top[0], right[0] - left[0]
    require(high == wide == size, f"at size = {size} the hole has {high}×{wide} pixels, not {size}×{size}.")
    for name, place, last in (("top", top, height - size), ("left", left, width - size)):
        require(place.min() < place.max(), f"every hole begins at the same {name}.")
        require(place.min() == 0, f"in {len(x)} images no hole begins at {name} = 0: it never touches that edge.")
        require(
            place.max() == last,
            f"in {len(x)} images of {height}×{width} no hole begins further than {name} = {place.max()}; "
            f"at {last} it still fits. Where do your random numbers end?",
        )
        middle = ((place >= last / 4) & (place <= 3 * last / 4)).float().mean().item()  # ± 0.02
        places = torch.arange(last + 1)
        wanted = ((places >= last / 4) & (places <= 3 * last / 4)).float().mean().item()
        require(
            abs(middle - wanted) < 0.13,
            f"{middle:.0%} of the holes have their {name} in the middle; with equal chances it is {wanted:.0%}.",
        )
    together = torch.corrcoef(torch.stack([top, left]).float())[0, 1].item()  # 0 ± 0.04
    require(abs(together) < 0.3, f"top and left have the correlation {together:.2f}: they should be two draws.")


@check(
    "2.3",
    metrics.psnr,
    hints=(
        "mse(x_hat, x), of lesson 1, is the mean squared error per pixel over all images.",
        "One decibel is a tenth of a power of ten: an error of 0.1 is 10 dB, one of 0.01 is 20 dB.",
        "torch.tensor(number).log10() takes the logarithm, of 0 too: it is minus infinity.",
    ),
)
def _psnr(answer):
    x = torch.linspace(0.2, 0.5, 128).view(2, 1, 8, 8)

    def value(x_hat):
        result = call(answer, x_hat, x)
        require(result is not None, "it returns None. Is there a return?")
        several = torch.is_tensor(result) and result.numel() > 1
        require(not several, f"it returns the shape {tuple(getattr(result, 'shape', ()))}; one number is wanted.")
        require(isinstance(result, Real), f"it returns a {type(result).__name__}; a float is wanted.")
        return float(result)

    ten = value(x + 0.1**0.5)
    known = {
        -10: "fewer decibels for a better image. Mind the sign.",
        2.302585: "take the logarithm to base 10.",
        23.02585: "10 times ln 10; take the logarithm to base 10.",
        20: "the factor 20 belongs to the root of the error.",
        5: "is each difference squared, and no root taken?",
        1: "that is in bel; a bel is ten decibels.",
        58.1308: "pixels run to 1 here, not to 255.",
        3.9794: "it compares with the brightest pixel of x; pixels run to 1, always.",
        8.23624: "it compares with the brightest pixel of x_hat; pixels run to 1, always.",
        -0.45757: "it compares with the range of pixels in x; pixels run to 1, always.",
        -8.06180: "are squared errors summed over the pixels? It is their mean.",
        -11.0721: "are squared errors summed over pixels and images? It is their mean.",
    }
    for decibels, message in known.items():
        require(not close(ten, decibels), f"at an error of 0.1 per pixel it is {decibels:.3g}, not 10: {message}")
    require(close(ten, 10), f"at an error of 0.1 per pixel it is {ten:.4g}, not 10.")
    half = torch.ones(8, 8)
    half[4:] = 5
    by_image = value(x + 0.1 * torch.tensor([1, 5]).view(2, 1, 1, 1))  # errors 0.01 and 0.25: 0.13 together
    by_pixel = value(x + 0.1 * half)
    require(not close(by_image, 13.0103), "it averages the decibels of single images: average the errors first.")
    for parts, result in (("images", by_image), ("pixels", by_pixel)):
        require(
            close(result, 8.86057),
            f"half the {parts} with errors of 0.01, half with 0.25, make 8.861 dB together; yours says {result:.4g}.",
        )
    out = value(x + 1)
    require(abs(out) < 1e-3, f"every pixel off by 1 is 0 dB; yours says {out:.4g}. Is something clipped?")
    try:
        same = value(x)
    except (ValueError, ZeroDivisionError) as error:
        raise Wrong(f"two equal images stop it ({error}); their PSNR is infinite.") from error
    require(same == float("inf"), f"two equal images have infinitely many decibels; yours says {same:.4g}.")


def linear_denoiser(x_noisy, x_clean):
    """The best linear map with intercept from noisy to clean images, by least squares.

    x_noisy, x_clean: (n, 1, height, width). Returns weight (pixels, pixels) and bias (pixels,):
    x_noisy.flatten(1) @ weight + bias is the estimate of x_clean.flatten(1).
    """
    inputs, targets = x_noisy.flatten(1), x_clean.flatten(1)
    mean_in, mean_out = inputs.mean(dim=0), targets.mean(dim=0)
    centred = inputs - mean_in
    weight = torch.linalg.solve(centred.T @ centred, centred.T @ (targets - mean_out))
    return weight, mean_out - mean_in @ weight


@check(
    "2.4",
    linear_denoiser,
    hints=(
        "Subtract their means from inputs and targets. What is left is a least squares problem without intercept.",
        "With A the centred inputs and B the centred targets, the weight W solves AᵀA W = AᵀB: torch.linalg.solve.",
        "The bias puts the means back: the mean input has to give the mean target.",
    ),
)
def _linear_denoiser(answer):
    clean = torch.rand(200, 1, 2, 3) @ torch.tensor([[1.0, 0.8, 0.1], [0.0, 0.5, 0.7], [0.2, 0.0, 0.6]])
    noisy = 0.4 + 0.8 * clean + torch.linspace(0.2, 0.7, 6).view(2, 3) * torch.randn_like(clean)

    def fit(noisy, clean):
        result = call(answer, noisy, clean)
        require(isinstance(result, (tuple, list)) and len(result) == 2, "two things are wanted: return weight, bias.")
        for value, name, shape in zip(result, ("weight", "bias"), ((6, 6), (6,))):
            require_tensor(value, shape, f"the {name} for images of 2×3")
            require(value.dtype == noisy.dtype, f"the {name} is {value.dtype}, the images are {noisy.dtype}.")
            require(not value.requires_grad, f"the {name} still carries a gradient: detach it.")
        return result[0].double(), result[1].double()

    x, y = noisy.flatten(1).double(), clean.flatten(1).double()

    def best(inputs, targets, intercept=1):
        inputs = torch.cat([inputs, torch.ones(len(inputs), intercept)], dim=1)
        return torch.linalg.lstsq(inputs, targets).solution

    def same(a, b):
        return torch.allclose(a, b, rtol=1e-3, atol=2e-3)

    weight, bias = fit(noisy, clean)
    wanted_weight, wanted_bias = best(x, y).split([6, 1])
    right = same(weight, wanted_weight)
    require(weight.isfinite().all() and bias.isfinite().all(), "weight or bias holds nan or infinity.")
    require(not same(weight, torch.eye(6).to(x)), "the weight is the identity: is the target the same as the input?")
    require(bias.any(), "the bias is 0: the best line does not pass through the origin.")
    require(not same(weight.T, wanted_weight), "the weight is transposed: the rows of pixels stand to its left.")
    require(not same(weight, best(y, x)[:6]), "it predicts the noisy images from the clean ones: swap them.")
    require((weight - weight.diag().diag()).abs().max() > 0.02, "every pixel is estimated from itself alone: use all.")
    require(not same(weight, best(x, y, 0)), "the weight is that of a fit through the origin: centre first.")
    require(
        not right or same(bias, wanted_bias[0]),
        "the weight is right; the bias is not. The mean input should give the mean target.",
    )
    error = (x @ weight + bias - y).square().mean().item()
    least = (x @ wanted_weight + wanted_bias - y).square().mean().item()
    require(error < 1.001 * least, f"its squared error is {error:.4g}; the best linear map makes {least:.4g}.")
    require(right, "its squared error is almost the least, but the weights are not the best. Is something added?")
    clean[..., 0, 0] = 0
    weight, _ = fit(noisy, clean)
    require(
        same(weight, best(x, clean.flatten(1).double())[:6]),
        "it goes wrong where a pixel is black in all clean images, as corners are. Is something divided by its spread?",
    )


def denoising_loss(denoise, x_clean, corrupt):
    """Squared error per image between the clean images and what is made of damaged ones, batch mean.

    denoise, corrupt: functions of images. x_clean: (batch, 1, 28, 28) in [0, 1]. Returns a scalar.
    """
    x_noisy = corrupt(x_clean)
    return squared_error(denoise(x_noisy), x_clean).mean()


@check(
    "2.5",
    denoising_loss,
    hints=(
        "Which loss would a model have that returns its input untouched? Which should it have?",
        "The noisy image is the input. What is the target?",
    ),
)
def _denoising_loss(answer):
    x = (torch.rand(3, 1, 28, 28) - 0.5).clamp(min=0)  # half of it black
    calls = []

    def brighter(x):
        calls.append(x)
        return x + (0.25 + 0.1 * len(calls))  # other damage at every call

    def loss(denoise, x):
        calls.clear()
        result = call(lambda x: answer(denoise, x, brighter), x)
        require_tensor(result, (), f"the loss of a batch of {len(x)}")
        require(calls, "the images are never damaged: call corrupt.")
        require(len(calls) == 1, f"corrupt is called {len(calls)} times for one loss: damage once, keep the result.")
        require(torch.equal(calls[0], x), "corrupt is given something else than the clean images.")
        return result.item()

    seen = []
    untouched = loss(lambda x: (seen.append(x), x)[1], x)
    require(
        abs(untouched) > 1e-6,
        "a model that returns the noisy image untouched has a loss of 0. What is it compared with?",
        Bug,
    )
    require(len(seen) == 1, f"the model is called {len(seen)} times for one loss.")
    require(close(seen[0], x + 0.35), "the model is shown something else than the damaged images.")
    cost = 784 * 0.35**2
    require(not close(untouched * 784, cost), "it is 784 times too small: sum over pixels, average over images.")
    require(not close(untouched, 3 * cost), "it is 3 times too large for three images: average over the batch.")
    require(
        close(untouched, cost),
        f"0.35 too much in every pixel, left as it is, costs 784 · 0.35² = {cost:.4g}; yours says {untouched:.4g}.",
    )
    perfect = loss(lambda x: x - 0.35, x)
    require(abs(perfect) < 1e-6, f"a model that removes all of the noise has the loss {perfect:.4g}, not 0.")
    bright = loss(lambda x: x + 1.65, x[:1])
    require(close(bright, 784 * 4), f"2 too much in every pixel costs 784 · 2² = 3136; yours says {bright:.4g}.")
    scale = torch.tensor(0.5, requires_grad=True)
    result = answer(lambda x: scale * x, x, brighter)
    require(result.requires_grad, "the loss is cut off from the model: is there a detach, an item() or a no_grad?")
    require(scale.grad is None, "it calls backward: that is for the training loop to do.")


def better_denoiser():
    """Which has the smaller error on new MNIST images with noise of sigma = 0.3?

    "linear": the best linear map, found by solving one system of equations.
    "autoencoder": the dense autoencoder with 32 numbers in its bottleneck, trained to denoise for four epochs.
    "same": they differ by less than a tenth of a decibel.
    """
    return "linear"


@check(
    "2.6",
    better_denoiser,
    hints=(
        "How well does the autoencoder of lesson 1 reconstruct images that have no noise at all? In decibels?",
        "What a bottleneck of 32 numbers cannot carry is lost, noise or no noise.",
    ),
    prediction=True,
)
def _better_denoiser(answer):
    choice = require_choice(answer, "linear", "autoencoder", "same")
    require(choice != "autoencoder", "it can bend where the linear map cannot; but run on and compare the decibels.")
    require(choice != "same", "the two differ by more than a decibel. Run on and see which way.")
