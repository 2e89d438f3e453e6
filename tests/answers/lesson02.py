"""Answers to the exercises of lesson 2."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression, Ridge
from torchmetrics.functional.image import peak_signal_noise_ratio

from aecourse import losses, metrics
from aecourse.exercises.lesson02 import positions_in, square_of
from tests.answers import not_asked, right, wrong

# 2.1 add_noise

not_asked("2.1", "add_noise moves the random state")  # it samples


@right("2.1")
def with_normal(x, sigma):
    return torch.clip(x + torch.normal(torch.zeros_like(x), 1.0) * sigma, min=0, max=1)


@right("2.1")
def with_a_distribution(x, sigma):
    return torch.distributions.Normal(x, sigma).sample().clamp(0, 1)


@right("2.1")
def noise_image_by_image(x, sigma):
    sigma = torch.as_tensor(sigma, device=x.device).expand(len(x), 1, 1, 1)
    return torch.stack([image + s * torch.randn_like(image) for image, s in zip(x, sigma)]).clamp(0, 1)


@wrong("2.1", "shared_within_an_image")
def stripes(x, sigma):
    return (x + sigma * torch.randn_like(x[:, :, :1])).clamp(0, 1)


@wrong("2.1")
def numpy_noise(x, sigma):
    return (x + sigma * torch.from_numpy(np.random.default_rng().standard_normal(x.shape)).to(x)).clamp(0, 1)


@wrong("2.1")
def laplace(x, sigma):
    samples = torch.distributions.Laplace(0.0, 0.5**0.5).sample(x.shape).to(x.device)
    return (x + sigma * samples).clamp(0, 1)


# 2.2 knock_out

not_asked("2.2", "knock_out moves the random state")  # it samples


@right("2.2")
def loop_over_images(x, size=12):
    return square_of(x, *positions_in(x, size), size)


@right("2.2")
def by_distance_from_the_corner(x, size=12):
    n, _, height, width = x.shape
    top, left = (torch.floor(torch.rand(n, 1, 1, 1) * (side - size + 1)) for side in (height, width))
    down, along = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    outside = (down < top) | (down >= top + size) | (along < left) | (along >= left + size)
    return torch.where(outside.to(x.device), x, torch.zeros_like(x))


@right("2.2")
def one_position_of_all(x, size=12):
    across = x.shape[3] - size + 1
    position = torch.randint((x.shape[2] - size + 1) * across, (len(x),))
    return square_of(x, position // across, position % across, size)


@wrong("2.2")
def wraps_around(x, size=12):
    corner = square_of(torch.ones_like(x[:1]), [0], [0], size)[0]
    moves = [[torch.randint(side, ()).item() for side in x.shape[-2:]] for _ in x]
    return x * torch.stack([corner.roll(move, (1, 2)) for move in moves])


# 2.3 psnr


@right("2.3")
def twenty_of_the_root(x_hat, x):
    return 20 * (1 / F.mse_loss(x_hat, x).sqrt()).log10().item()


@right("2.3")
def with_numpy(x_hat, x):
    with np.errstate(divide="ignore"):
        return -10 * np.log10(metrics.mse(x_hat, x))


@right("2.3")
def with_torchmetrics(x_hat, x):
    return float(peak_signal_noise_ratio(x_hat, x, data_range=1.0))


@wrong("2.3")
def stays_a_tensor(x_hat, x):
    return -10 * (x_hat - x).square().mean().log10()


# 2.4 linear_denoiser


def rows_with_ones(x):
    rows = x.flatten(1)
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)


@right("2.4")
def with_lstsq_and_ones(x_noisy, x_clean):
    solution = torch.linalg.lstsq(rows_with_ones(x_noisy), x_clean.flatten(1)).solution
    return solution[:-1], solution[-1]


@right("2.4")
def with_sklearn(x_noisy, x_clean, model=LinearRegression):
    fit = model().fit(x_noisy.flatten(1).cpu().numpy(), x_clean.flatten(1).cpu().numpy())
    return torch.from_numpy(fit.coef_.T).to(x_noisy), torch.from_numpy(fit.intercept_).to(x_noisy)


@right("2.4")
def with_the_pseudoinverse(x_noisy, x_clean):
    solution = torch.linalg.pinv(rows_with_ones(x_noisy).double()) @ x_clean.flatten(1).double()
    return solution[:-1].float(), solution[-1].float()


@wrong("2.4", "no_intercept")
def no_intercept_in_other_words(x_noisy, x_clean):
    a, b = x_noisy.flatten(1), x_clean.flatten(1)
    return torch.linalg.solve(a.T @ a, a.T @ b), torch.zeros(a.shape[1], device=a.device)


@wrong("2.4", "ridge")
def ridge_of_sklearn(x_noisy, x_clean):
    return with_sklearn(x_noisy, x_clean, Ridge)


# 2.5 denoising_loss


@right("2.5")
def without_gradient_of_the_corruption(denoise, x_clean, corrupt):
    with torch.no_grad():
        x = corrupt(x_clean)
    return F.mse_loss(denoise(x), x_clean, reduction="sum") / len(x)


@right("2.5")
def mean_times_pixels(denoise, x_clean, corrupt):
    d = denoise(corrupt(x_clean)) - x_clean
    return d.pow(2).mean() * d[0].numel()


@right("2.5")
def summed_image_by_image(denoise, x_clean, corrupt):
    x_hat = denoise(corrupt(x_clean.clone()))
    return sum(((a - b) ** 2).sum() for a, b in zip(x_hat, x_clean)) / x_clean.shape[0]


@wrong("2.5", "the_bug_itself")
def the_bug_in_other_words(denoise, x_clean, corrupt):
    x = corrupt(x_clean)
    return ((denoise(x) - x) ** 2).sum() / len(x)


@wrong("2.5", "ignores_corrupt")
def noise_of_its_own(denoise, x_clean, corrupt):
    return losses.denoising_loss(denoise, x_clean, lambda x: (x + 0.5 * torch.randn_like(x)).clamp(0, 1))


@wrong("2.5", "the_other_way_round")
def corrupts_the_output(denoise, x_clean, corrupt):
    return losses.squared_error(corrupt(denoise(x_clean)), x_clean).mean()


# 2.6 linear or autoencoder?


@right("2.6")
def capital():
    return " Linear "
