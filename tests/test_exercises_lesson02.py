"""Lesson 2's exercises: wrong answers that are refused, right ones that are accepted."""

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression, Ridge
from torchmetrics.functional.image import peak_signal_noise_ratio

from aecourse import losses, metrics
from aecourse.exercises import lesson02
from tests.gallery import Gallery, gallery_tests

noise, hole, decibels, linear, loss, predict = galleries = [Gallery(f"2.{i}") for i in range(1, 7)]


# 2.1 add_noise


@noise.wrong("the noise has the mean 0.05")
def uniform_from_0(x, sigma):
    return (x + sigma * torch.rand_like(x)).clamp(0, 1)


@noise.wrong("0.0% of the noise lies beyond two of its standard deviations")
def uniform(x, sigma):
    return (x + sigma * 12**0.5 * (torch.rand_like(x) - 0.5)).clamp(0, 1)


@noise.wrong("of its standard deviations; of Gaussian noise it is 4.6%")
def laplace(x, sigma):
    n = torch.distributions.Laplace(0.0, 0.5**0.5).sample(x.shape)
    return (x + sigma * n).clamp(0, 1)


@noise.wrong("all images of a batch get the same noise")
def shared_over_the_batch(x, sigma):
    return (x + sigma * torch.randn(x.shape[1:])).clamp(0, 1)


@noise.wrong("all channels get the same noise")
def shared_over_channels(x, sigma):
    return (x + sigma * torch.randn_like(x[:, :1])).clamp(0, 1)


@noise.wrong("all channels and rows and columns get the same noise")
def brightness(x, sigma):
    return (x + sigma * torch.randn(len(x), 1, 1, 1)).clamp(0, 1)


@noise.wrong("all rows get the same noise")
def stripes(x, sigma):
    return (x + sigma * torch.randn_like(x[:, :, :1])).clamp(0, 1)


@noise.wrong("with no seed")
def seeds_inside(x, sigma):
    torch.manual_seed(0)
    return lesson02.add_noise(x, sigma)


@noise.wrong("draw it with torch")
def numpy_noise(x, sigma):
    n = torch.from_numpy(np.random.default_rng().standard_normal(x.shape)).float()
    return (x + sigma * n).clamp(0, 1)


@noise.wrong("torch.float64")
def double_precision(x, sigma):
    return (x + sigma * torch.randn(x.shape, dtype=torch.float64)).clamp(0, 1)


@noise.wrong("in place")
def in_place(x, sigma):
    x += sigma * torch.randn_like(x)
    return x.clamp(0, 1)


@noise.wrong("pixels run from -")
def not_clipped(x, sigma):
    return x + sigma * torch.randn_like(x)


@noise.wrong("pixels run from 0 to 2")
def clipped_below_only(x, sigma):
    return (x + sigma * torch.randn_like(x)).relu()


@noise.wrong("yours: 0% and 6%")
def folded_at_0(x, sigma):
    return (x + sigma * torch.randn_like(x)).abs().clamp(max=1)


@noise.wrong("with no noise at all, pixels move by up to 0.3")
def rescaled(x, sigma):
    x = x + sigma * torch.randn_like(x)
    return (x - x.min()) / (x.max() - x.min())


@noise.wrong("with no noise at all, pixels move by up to 0.35")
def squeezed(x, sigma):
    return (x + sigma * torch.randn_like(x)).sigmoid()


@noise.wrong("sigma, not sigma²")
def sigma_squared(x, sigma):
    return (x + sigma**2 * torch.randn_like(x)).clamp(0, 1)


@noise.wrong("is a root taken of sigma?")
def root_of_sigma(x, sigma):
    return (x + sigma**0.5 * torch.randn_like(x)).clamp(0, 1)


@noise.wrong("the standard deviation 0.198")
def twice_the_noise(x, sigma):
    return (x + 2 * sigma * torch.randn_like(x)).clamp(0, 1)


@noise.wrong("at sigma = 0 there is still noise")
def forgets_sigma(x, sigma):
    return (x + torch.randn_like(x)).clamp(0, 1)


@noise.wrong("black pixels stay black")
def multiplied(x, sigma):
    return (x * (1 + sigma * torch.randn_like(x))).clamp(0, 1)


@noise.wrong("returns the image as it was")
def forgets_the_noise(x, sigma):
    return x.clamp(0, 1)


@noise.wrong("is None. Is there a return?")
def adds_and_returns_nothing(x, sigma):
    lesson02.add_noise(x, sigma)


@noise.wrong("one sigma for each image, 0 and 0.2, makes noise of 0.098 and 0.099")
def one_sigma_for_all(x, sigma):
    return lesson02.add_noise(x, torch.as_tensor(sigma).mean())


@noise.right
def with_normal(x, sigma):
    return torch.clip(x + torch.normal(torch.zeros_like(x), 1.0) * sigma, min=0, max=1)


@noise.right
def with_a_distribution(x, sigma):
    return torch.distributions.Normal(x, sigma).sample().clamp(0, 1)


@noise.right
def noise_image_by_image(x, sigma):
    sigma = torch.as_tensor(sigma).expand(len(x), 1, 1, 1)
    noisy = [image + s * torch.randn(image.shape) for image, s in zip(x, sigma)]
    return torch.stack(noisy).clamp(0, 1)


@noise.right
def on_a_copy(x, sigma):
    x = x.clone()
    x += torch.empty_like(x).normal_() * sigma
    x[x < 0] = 0
    x[x > 1] = 1
    return x


# 2.2 knock_out


def hole_of(x, top, left, size, value=0):
    """Images with these squares set to a value."""
    out = x.clone()
    for i in range(len(x)):
        out[i, :, top[i] : top[i] + size, left[i] : left[i] + size] = value
    return out


def places(x, size):
    """As many tops and lefts as there are images, all right."""
    height, width = x.shape[-2:]
    return torch.randint(height - size + 1, (len(x),)), torch.randint(width - size + 1, (len(x),))


@hole.wrong("no hole begins further than top = 15")
def off_by_one(x, size=12):
    height, width = x.shape[-2:]
    return hole_of(x, torch.randint(height - size, (len(x),)), torch.randint(width - size, (len(x),)), size)


@hole.wrong("do some hang over the edge?")
def over_the_edge(x, size=12):
    height, width = x.shape[-2:]
    return hole_of(x, torch.randint(height, (len(x),)), torch.randint(width, (len(x),)), size)


@hole.wrong("no hole begins at top = 0")
def never_at_the_edge(x, size=12):
    height, width = x.shape[-2:]
    return hole_of(
        x, torch.randint(1, height - size + 1, (len(x),)), torch.randint(1, width - size + 1, (len(x),)), size
    )


@hole.wrong("of 20×24 no hole begins further than left = 15")
def left_from_the_height(x, size=12):
    n = x.shape[2] - size + 1
    return hole_of(x, torch.randint(n, (len(x),)), torch.randint(n, (len(x),)), size)


@hole.wrong("with equal chances it is 53%")
def moved_in_from_the_edge(x, size=12):
    height, width = x.shape[-2:]
    top = (torch.randint(height, (len(x),)) - size // 2).clamp(0, height - size)
    left = (torch.randint(width, (len(x),)) - size // 2).clamp(0, width - size)
    return hole_of(x, top, left, size)


@hole.wrong("the lost pixels fill only 61%")
def wraps_around(x, size=12):
    height, width = x.shape[-2:]
    corner = torch.zeros(height, width, dtype=torch.bool)
    corner[:size, :size] = True
    moves = torch.stack([torch.randint(height, (len(x),)), torch.randint(width, (len(x),))], dim=1).tolist()
    return x.masked_fill(torch.stack([corner.roll(move, (0, 1)) for move in moves])[:, None], 0)


@hole.wrong("the lost pixels fill only 18%")
def strewn(x, size=12):
    out = x.clone()
    for image in out:
        lost = torch.randperm(image[0].numel())[: size * size]
        image.view(len(image), -1)[:, lost] = 0
    return out


@hole.wrong("the correlation 1.00")
def one_draw_for_both(x, size=12):
    place = torch.rand(len(x))
    height, width = x.shape[-2:]
    top, left = (place * (height - size + 1)).long(), (place * (width - size + 1)).long()
    return hole_of(x, top, left, size)


@hole.wrong("in the same place in every image")
def same_place(x, size=12):
    top, left = (place[:1].expand(len(x)) for place in places(x, size))
    return hole_of(x, top, left, size)


@hole.wrong("every hole begins at the same left")
def moves_up_and_down_only(x, size=12):
    return hole_of(x, places(x, size)[0], torch.zeros(len(x), dtype=torch.long), size)


@hole.wrong("the channels of an image lose different pixels")
def first_channel_only(x, size=12):
    return torch.cat([hole_of(x[:, :1], *places(x, size), size), x[:, 1:]], dim=1)


@hole.wrong("something else than 0")
def grey(x, size=12):
    return hole_of(x, *places(x, size), size, value=0.05)


@hole.wrong("whole rows or columns")
def band(x, size=12):
    out = x.clone()
    for image, top in zip(out, places(x, size)[0]):
        image[:, top : top + size] = 0
    return out


@hole.wrong("is it what lies around the square?")
def the_rest(x, size=12):
    return x * (hole_of(x, *places(x, size), size) == 0)


@hole.wrong("at size = 12 the hole has 13×13")
def a_pixel_too_much(x, size=12):
    return hole_of(x, *places(x, size + 1), size + 1)


@hole.wrong("at size = 5 the hole has 12×12")
def ignores_the_size(x, size=12):
    return hole_of(x, *places(x, 12), 12)


@hole.wrong("at size = 5 the hole has 4×4")
def half_a_size_each_way(x, size=12):
    half = size // 2
    return hole_of(x, *places(x, 2 * half), 2 * half)


@hole.wrong("599 of 600 images have no hole")
def first_image_only(x, size=12):
    return torch.cat([hole_of(x[:1], *places(x[:1], size), size), x[1:]])


@hole.wrong("with no seed")
def seed_inside(x, size=12):
    torch.manual_seed(1)
    return hole_of(x, *places(x, size), size)


@hole.wrong("draw it with torch")
def pythons_random(x, size=12):
    height, width = x.shape[-2:]
    top = [random.randint(0, height - size) for _ in x]
    left = [random.randint(0, width - size) for _ in x]
    return hole_of(x, top, left, size)


@hole.wrong("in place")
def without_a_clone(x, size=12):
    for image, top, left in zip(x, *places(x, size)):
        image[:, top : top + size, left : left + size] = 0
    return x


@hole.wrong("called without a size")
def other_default(x, size=10):
    return hole_of(x, *places(x, size), size)


@hole.right
def loop_over_images(x, size=12):
    return hole_of(x, *places(x, size), size)


@hole.right
def single_draws(x, size=12):
    mask = torch.ones_like(x)
    for i in range(x.shape[0]):
        top = torch.randint(0, x.shape[2] - size + 1, (1,)).item()
        left = torch.randint(0, x.shape[3] - size + 1, (1,)).item()
        mask[i, :, top : top + size, left : left + size] = 0
    return x * mask


@hole.right
def by_distance_from_the_corner(x, size=12):
    n, _, height, width = x.shape
    top = torch.floor(torch.rand(n) * (height - size + 1)).view(n, 1, 1, 1)
    left = torch.floor(torch.rand(n) * (width - size + 1)).view(n, 1, 1, 1)
    down, along = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    outside = (down < top) | (down >= top + size) | (along < left) | (along >= left + size)
    return torch.where(outside, x, torch.zeros_like(x))


@hole.right
def one_place_of_all(x, size=12):
    height, width = x.shape[-2:]
    across = width - size + 1
    place = torch.randint((height - size + 1) * across, (len(x),))
    return hole_of(x, place // across, place % across, size)


# 2.3 psnr


@decibels.wrong("Mind the sign")
def wrong_sign(x_hat, x):
    return 10 * math.log10(metrics.mse(x_hat, x) or 1e-300)


@decibels.wrong("it is 2.3, not 10: take the logarithm to base 10")
def natural_logarithm(x_hat, x):
    return -torch.tensor(metrics.mse(x_hat, x)).log().item()


@decibels.wrong("10 times ln 10")
def ten_natural_logarithms(x_hat, x):
    return -10 * torch.tensor(metrics.mse(x_hat, x)).log().item()


@decibels.wrong("the factor 20")
def twenty(x_hat, x):
    return -20 * torch.tensor(metrics.mse(x_hat, x)).log10().item()


@decibels.wrong("no root taken?")
def ten_of_the_root(x_hat, x):
    return -10 * (x_hat - x).square().mean().sqrt().log10().item()


@decibels.wrong("a bel is ten decibels")
def bel(x_hat, x):
    return -torch.tensor(metrics.mse(x_hat, x)).log10().item()


@decibels.wrong("not to 255")
def bytes_peak(x_hat, x):
    return 10 * (255**2 / (x_hat - x).square().mean()).log10().item()


@decibels.wrong("the brightest pixel of x;")
def peak_of_the_picture(x_hat, x):
    return 10 * (x.max() ** 2 / (x_hat - x).square().mean()).log10().item()


@decibels.wrong("the brightest pixel of x_hat")
def peak_of_the_reconstruction(x_hat, x):
    return 10 * (x_hat.max() ** 2 / (x_hat - x).square().mean()).log10().item()


@decibels.wrong("the range of pixels in x;")
def range_of_the_picture(x_hat, x):
    return 10 * ((x.max() - x.min()) ** 2 / (x_hat - x).square().mean()).log10().item()


@decibels.wrong("summed over the pixels?")
def error_of_an_image(x_hat, x):
    return -10 * losses.squared_error(x_hat, x).mean().log10().item()


@decibels.wrong("summed over pixels and images?")
def sum_of_errors(x_hat, x):
    return -10 * F.mse_loss(x_hat, x, reduction="sum").log10().item()


@decibels.wrong("decibels of single images")
def averaged_over_images(x_hat, x):
    return -10 * (x_hat - x).square().flatten(1).mean(1).log10().mean().item()


@decibels.wrong("half the pixels with errors of 0.01, half with 0.25")
def averaged_over_pixels(x_hat, x):
    return -10 * (x_hat - x).square().mean(0).log10().mean().item()


@decibels.wrong("yours says 80")
def small_number_added(x_hat, x):
    return -10 * math.log10(metrics.mse(x_hat, x) + 1e-8)


@decibels.wrong("yours says 100")
def hundred_for_equal_images(x_hat, x):
    error = metrics.mse(x_hat, x)
    return 100.0 if error == 0 else -10 * math.log10(error)


@decibels.wrong("stop it (")
def logarithm_of_0(x_hat, x):
    return -10 * math.log10(metrics.mse(x_hat, x))


@decibels.wrong("Is something clipped?")
def clips_first(x_hat, x):
    return metrics.psnr(x_hat.clamp(0, 1), x)


@decibels.wrong("it returns the shape (2,)")
def one_for_each_image(x_hat, x):
    return -10 * (x_hat - x).square().flatten(1).mean(1).log10()


@decibels.wrong("it returns a Tensor")
def stays_a_tensor(x_hat, x):
    return -10 * (x_hat - x).square().mean().log10()


@decibels.wrong("in place")
def subtracts_in_place(x_hat, x):
    x_hat -= x
    return -10 * x_hat.square().mean().log10().item()


@decibels.wrong("it returns None")
def prints(x_hat, x):
    print(metrics.psnr(x_hat, x))


@decibels.right
def twenty_of_the_root(x_hat, x):
    return 20 * (1 / F.mse_loss(x_hat, x).sqrt()).log10().item()


@decibels.right
def with_numpy(x_hat, x):
    with np.errstate(divide="ignore"):
        return -10 * np.log10(metrics.mse(x_hat, x))


@decibels.right
def with_torchmetrics(x_hat, x):
    return float(peak_signal_noise_ratio(x_hat, x, data_range=1.0))


@decibels.right
def with_a_special_case(x_hat, x):
    total = sum(((a - b) ** 2).sum().item() for a, b in zip(x_hat, x))
    return math.inf if total == 0 else 10 * math.log10(x.numel() / total)


# 2.4 linear_denoiser


def rows_with_ones(x):
    return torch.cat([x.flatten(1), torch.ones(len(x), 1)], dim=1)


@linear.wrong("the bias is 0")
def no_intercept(x_noisy, x_clean):
    weight = torch.linalg.lstsq(x_noisy.flatten(1), x_clean.flatten(1)).solution
    return weight, torch.zeros(weight.shape[1])


@linear.wrong("a fit through the origin")
def intercept_afterwards(x_noisy, x_clean):
    X, Y = x_noisy.flatten(1), x_clean.flatten(1)
    weight = torch.linalg.lstsq(X, Y).solution
    return weight, (Y - X @ weight).mean(0)


@linear.wrong("the weight is transposed")
def transposed(x_noisy, x_clean):
    weight, bias = lesson02.linear_denoiser(x_noisy, x_clean)
    return weight.T.contiguous(), bias


@linear.wrong("swap them")
def swapped(x_noisy, x_clean):
    return lesson02.linear_denoiser(x_clean, x_noisy)


@linear.wrong("the weight is right; the bias is not")
def bias_is_the_mean(x_noisy, x_clean):
    weight, _ = lesson02.linear_denoiser(x_noisy, x_clean)
    return weight, x_clean.flatten(1).mean(0)


@linear.wrong("the weight is the identity")
def noisy_as_the_target(x_noisy, x_clean):
    return lesson02.linear_denoiser(x_noisy, x_noisy)


@linear.wrong("from itself alone")
def every_pixel_for_itself(x_noisy, x_clean):
    X, Y = x_noisy.flatten(1), x_clean.flatten(1)
    X, Y, mean_in, mean_out = X - X.mean(0), Y - Y.mean(0), X.mean(0), Y.mean(0)
    slope = (X * Y).sum(0) / X.square().sum(0)
    return slope.diag(), mean_out - slope * mean_in


@linear.wrong("the best linear map makes")
def one_mean_for_all_pixels(x_noisy, x_clean):
    X, Y = x_noisy.flatten(1), x_clean.flatten(1)
    X, Y, mean_in, mean_out = X - X.mean(), Y - Y.mean(), X.mean(), Y.mean()
    weight = torch.linalg.solve(X.T @ X, X.T @ Y)
    return weight, (mean_out - mean_in * weight.sum(0)).contiguous()


@linear.wrong("its squared error is")
def not_divided_by_the_covariance(x_noisy, x_clean):
    X, Y = x_noisy.flatten(1), x_clean.flatten(1)
    weight = (X - X.mean(0)).T @ (Y - Y.mean(0)) / len(X)
    return weight, Y.mean(0) - X.mean(0) @ weight


@linear.wrong("the weights are not the best. Is something added?")
def ridge(x_noisy, x_clean):
    model = Ridge(alpha=1).fit(x_noisy.flatten(1).numpy(), x_clean.flatten(1).numpy())
    return torch.from_numpy(model.coef_.T).float(), torch.from_numpy(model.intercept_).float()


@linear.wrong("black in all clean images")
def standardised(x_noisy, x_clean):
    X, Y = x_noisy.flatten(1), x_clean.flatten(1)
    U, V = (X - X.mean(0)) / X.std(0), (Y - Y.mean(0)) / Y.std(0)
    weight = torch.linalg.solve(U.T @ U, U.T @ V) / X.std(0)[:, None] * Y.std(0)
    return weight, Y.mean(0) - X.mean(0) @ weight


@linear.wrong("the weight for images of 2×3 has the shape (7, 6)")
def bias_left_in_the_weight(x_noisy, x_clean):
    weight = torch.linalg.lstsq(rows_with_ones(x_noisy), x_clean.flatten(1)).solution
    return weight, weight[-1]


@linear.wrong("the bias for images of 2×3 has the shape (1, 6)")
def bias_as_a_row(x_noisy, x_clean):
    weight, bias = lesson02.linear_denoiser(x_noisy, x_clean)
    return weight, bias[None]


@linear.wrong("is a ndarray")
def arrays(x_noisy, x_clean):
    model = LinearRegression().fit(x_noisy.flatten(1).numpy(), x_clean.flatten(1).numpy())
    return model.coef_.T, model.intercept_


@linear.wrong("the weight is torch.float64")
def stays_double(x_noisy, x_clean):
    return lesson02.linear_denoiser(x_noisy.double(), x_clean.double())


@linear.wrong("return weight, bias")
def weight_alone(x_noisy, x_clean):
    return lesson02.linear_denoiser(x_noisy, x_clean)[0]


@linear.wrong("in place")
def centres_in_place(x_noisy, x_clean):
    X, Y = x_noisy.flatten(1), x_clean.flatten(1)
    mean_in, mean_out = X.mean(0), Y.mean(0)
    X -= mean_in
    Y -= mean_out
    weight = torch.linalg.solve(X.T @ X, X.T @ Y)
    return weight, mean_out - mean_in @ weight


@linear.wrong("carries a gradient")
def still_a_parameter(x_noisy, x_clean):
    weight, bias = lesson02.linear_denoiser(x_noisy, x_clean)
    return torch.nn.Parameter(weight), torch.nn.Parameter(bias)


@linear.right
def with_lstsq_and_ones(x_noisy, x_clean):
    solution = torch.linalg.lstsq(rows_with_ones(x_noisy), x_clean.flatten(1)).solution
    return solution[:-1], solution[-1]


@linear.right
def with_sklearn(x_noisy, x_clean):
    model = LinearRegression().fit(x_noisy.flatten(1).numpy(), x_clean.flatten(1).numpy())
    return torch.from_numpy(model.coef_.T).float(), torch.from_numpy(model.intercept_).float()


@linear.right
def with_covariances_and_einsum(x_noisy, x_clean):
    X, Y = x_noisy.reshape(len(x_noisy), -1), x_clean.reshape(len(x_clean), -1)
    X0 = X - X.mean(0, keepdim=True)
    C = torch.einsum("ni,nj->ij", X0, X0) / len(X)
    weight = torch.inverse(C) @ (torch.einsum("ni,nj->ij", X0, Y) / len(X))
    return [weight, (Y - X @ weight).mean(0)]


@linear.right
def with_the_pseudoinverse(x_noisy, x_clean):
    solution = torch.linalg.pinv(rows_with_ones(x_noisy).double()) @ x_clean.flatten(1).double()
    return solution[:-1].float(), solution[-1].float()


@linear.right
def pixel_by_pixel(x_noisy, x_clean):
    X = rows_with_ones(x_noisy)
    columns = [torch.linalg.solve(X.T @ X, X.T @ y) for y in x_clean.flatten(1).T]
    return torch.stack(columns, dim=1)[:-1], torch.stack(columns, dim=1)[-1]


# 2.5 denoising_loss


@loss.wrong("the bug is still there: a model that returns the noisy image untouched")
def the_bug_itself(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    x_hat = denoise(x)
    return losses.squared_error(x_hat, x).mean()


@loss.wrong("corrupt is called 2 times")
def damages_twice(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)), corrupt(x_clean)).mean()


@loss.wrong("never damaged")
def plain_autoencoder(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(x_clean), x_clean).mean()


@loss.wrong("the model is shown something else")
def the_other_way_round(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    return losses.squared_error(denoise(x_clean), x).mean()


@loss.wrong("corrupt is given something else")
def damages_the_output(denoise, x_clean, corrupt):
    return losses.squared_error(corrupt(denoise(x_clean / 2)), x_clean).mean()


@loss.wrong("the model is called 0 times")
def leaves_the_model_out(denoise, x_clean, corrupt):
    return losses.squared_error(corrupt(x_clean), x_clean).mean()


@loss.wrong("the model is called 2 times")
def denoises_twice(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(denoise(corrupt(x_clean))), x_clean).mean()


@loss.wrong("784 times too small")
def averages_over_pixels(denoise, x_clean, corrupt):
    return F.mse_loss(denoise(corrupt(x_clean)), x_clean)


@loss.wrong("3 times too large")
def sums_the_batch(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)), x_clean).sum()


@loss.wrong("has the shape (3,)")
def keeps_the_batch(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)), x_clean)


@loss.wrong("yours says 274.4")
def absolute(denoise, x_clean, corrupt):
    return (denoise(corrupt(x_clean)) - x_clean).abs().sum() / len(x_clean)


@loss.wrong("costs 784 · 0.35²")
def predicts_the_noise(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    return losses.squared_error(denoise(x), x - x_clean).mean()


@loss.wrong("removes all of the noise has the loss 48.02")
def half_way(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    x_hat = denoise(x)
    return (losses.squared_error(x_hat, x_clean) + losses.squared_error(x, x_clean)).mean() / 2


@loss.wrong("2 too much in every pixel")
def clips_the_output(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)).clamp(0, 1), x_clean).mean()


@loss.wrong("cut off from the model")
def detached(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)).detach(), x_clean).mean()


@loss.wrong("is a float")
def a_number(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)), x_clean).mean().item()


@loss.wrong("it calls backward")
def calls_backward(denoise, x_clean, corrupt):
    loss = losses.squared_error(denoise(corrupt(x_clean)), x_clean).mean()
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    return loss


@loss.wrong("in place")
def overwrites_the_clean(denoise, x_clean, corrupt):
    clean = x_clean.clone()
    x_clean[:] = corrupt(clean)
    return losses.squared_error(denoise(x_clean), clean).mean()


@loss.right
def in_one_line(denoise, x_clean, corrupt):
    return losses.squared_error(denoise(corrupt(x_clean)), x_clean).mean()


@loss.right
def with_mse_loss(denoise, x_clean, corrupt):
    with torch.no_grad():
        x = corrupt(x_clean)
    return F.mse_loss(denoise(x), x_clean, reduction="sum") / len(x)


@loss.right
def mean_times_pixels(denoise, x_clean, corrupt):
    d = denoise(corrupt(x_clean)) - x_clean
    return d.pow(2).mean() * d[0].numel()


@loss.right
def summed_image_by_image(denoise, x_clean, corrupt):
    x_hat = denoise(corrupt(x_clean.clone()))
    return sum(((a - b) ** 2).sum() for a, b in zip(x_hat, x_clean)) / x_clean.shape[0]


# 2.6 prediction


@predict.wrong("it can bend where the linear map cannot")
def autoencoder():
    return "autoencoder"


@predict.wrong("the two differ by more than a decibel")
def same():
    return "same"


@predict.wrong('"both" is none of')
def both():
    return "both"


@predict.wrong("you answer 1;")
def an_index():
    return 1


@predict.wrong("you answer ['linear'];")
def a_list():
    return ["linear"]


@predict.wrong("you answer False;")
def a_truth():
    return "autoencoder" == "linear"


@predict.right
def capital():
    return " Linear "


@predict.right
def by_reasoning():
    least_error_through_32_numbers, error_of_the_linear_map = 0.010, 0.009
    return "linear" if error_of_the_linear_map < least_error_through_32_numbers else "autoencoder"


test_wrong, test_right, test_galleries = gallery_tests(galleries)
