"""Errors of images, Fréchet distance, precision and recall, active units: against formulas, libraries and by hand."""

import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from aecourse import data, metrics
from aecourse.losses import gaussian_kl
from aecourse.metrics import active_units, frechet_distance, kl_by_dimension, precision_recall


def sample(mean, covariance, n=500):
    """Points (n, d) whose mean and covariance are these, not nearly but to rounding."""
    mean, covariance = (torch.as_tensor(values, dtype=torch.double) for values in (mean, covariance))
    x = torch.randn(n, len(mean), dtype=torch.double)
    x = x - x.mean(dim=0)
    x = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T
    return mean + x @ torch.linalg.cholesky(covariance).T


def root(matrix):
    """The symmetric square root."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T


def test_distance_of_a_set_to_itself_is_0():
    x = torch.randn(400, 8) * torch.arange(1.0, 9.0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-3)
    assert frechet_distance(x, x[torch.randperm(400)]) == pytest.approx(0, abs=1e-3)


def test_distance_of_a_shifted_set_is_the_square_of_the_shift():
    x, shift = torch.randn(400, 3), torch.tensor([3.0, 0.0, -4.0])
    assert frechet_distance(x, x + shift) == pytest.approx(25, rel=1e-3)
    assert frechet_distance(x + 100, x + 100 + shift) == pytest.approx(25, rel=1e-3), "far from 0, too"


def test_distance_by_hand_where_the_axes_agree():
    # One axis at a time it is (difference of means)² + (difference of standard deviations)².
    x = sample([0, 1, 2], torch.diag(torch.tensor([1.0, 4.0, 9.0])))
    y = sample([2, 1, 2], torch.diag(torch.tensor([25.0, 4.0, 0.25])), n=900)
    assert frechet_distance(x, y) == pytest.approx(2**2 + (5 - 1) ** 2 + (3 - 0.5) ** 2, rel=1e-6)


@pytest.mark.parametrize("d", [2, 5])
def test_distance_is_that_of_the_formula_for_any_covariances(d):
    # a is long along the diagonal, b along the first axis
    u, v, unit = torch.ones(d, 1).double(), torch.eye(d, 1).double(), torch.eye(d).double()
    a, b = 0.5 * unit + 4 * u @ u.T, unit + 9 * v @ v.T
    mean, other = torch.randn(2, d, dtype=torch.double)
    expected = ((mean - other).square().sum() + (a + b - 2 * root(root(a) @ b @ root(a))).trace()).item()
    without_the_order = ((mean - other).square().sum() + (a + b - 2 * root(a) @ root(b)).trace()).item()
    assert without_the_order > 1.01 * expected, "the roots do not commute"
    x, y = sample(mean, a), sample(other, b, n=300)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-6)


def test_distance_is_a_float_in_the_unit_of_the_features():
    x, y = torch.randn(400, 3), 2 * torch.randn(400, 3) + 1
    distance = frechet_distance(x, y)
    assert isinstance(distance, float)
    assert frechet_distance(10 * x, 10 * y) == pytest.approx(100 * distance, rel=1e-3)


def points(*values):
    return torch.tensor(values, dtype=torch.float).view(len(values), -1)


def test_disjoint_sets_have_neither_precision_nor_recall():
    x = torch.randn(100, 2)
    assert precision_recall(x, x + 100) == (0, 0)


def test_equal_sets_have_both():
    x = torch.randn(100, 2)
    assert precision_recall(x, x.clone()) == (1, 1)
    assert precision_recall(x, x[torch.randperm(100)]) == (1, 1)


def test_a_generator_that_forgets_half_is_precise_and_recalls_half():
    left, right = torch.randn(2, 50, 2) + torch.tensor([-100.0, 100.0]).view(2, 1, 1)
    real = torch.cat([left, right])
    assert precision_recall(real, left) == (1, 0.5)
    assert precision_recall(left, real) == (0.5, 1), "the other way round they change places"


def test_precision_and_recall_by_hand():
    # The nearest other real point is 1 away, for the last one 7: balls from -1 to 4 and from 3 to 17.
    real = points(0, 1, 2, 3, 10)
    # The nearest other generated point is 0.5, 0.5, 1.5, 1.5 away: balls from -1.9 to -0.4 and from 2.1 to 6.6.
    generated = points(-1.4, -0.9, 3.6, 5.1)
    assert precision_recall(real, generated, k=1) == pytest.approx((3 / 4, 1 / 5))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_balls_reach_just_to_the_kth_neighbour(k):
    real = points(0, 1, 2, 3, 4)  # the k-th neighbour of both ends is k away
    generated = points(-k, 4 + k, -k - 0.01, 4 + k + 0.01, 100)
    assert precision_recall(real, generated, k=k)[0] == pytest.approx(2 / 5)


def test_a_larger_k_covers_more():
    real, generated = torch.randn(300, 8), torch.randn(200, 8) + 0.5
    scores = [precision_recall(real, generated, k=k) for k in (1, 3, 10)]
    assert scores[0][0] < scores[1][0] < scores[2][0] and scores[0][1] < scores[1][1] < scores[2][1]
    assert precision_recall(real, generated) == scores[1], "3 unless told"


def test_precision_and_recall_of_more_points_than_one_batch():
    real, generated = torch.randn(2300, 4), torch.randn(1200, 4) * 0.7 + 0.4

    def covered(points, references):
        x, y = points.double(), references.double()
        among = (y[:, None] - y[None]).square().sum(dim=2).sqrt()
        radii = among.fill_diagonal_(math.inf).sort(dim=1).values[:, 2]
        return ((x[:, None] - y[None]).square().sum(dim=2).sqrt() <= radii).any(dim=1).double().mean().item()

    expected = covered(generated, real), covered(real, generated)
    assert 0.1 < expected[1] < expected[0] - 0.05 < 0.95
    assert precision_recall(real, generated) == pytest.approx(expected, abs=0.001)


def test_active_units_are_those_whose_mean_varies():
    spread = torch.tensor([0.0, 0.05, 0.2, 3.0])
    mu = spread * torch.tensor([-1.0, 1.0]).repeat(500).view(-1, 1) + torch.tensor([5.0, -2.0, 0.0, 1.0])
    active = active_units(mu)
    assert active.dtype == torch.bool and active.tolist() == [False, False, True, True]
    assert active_units(mu, threshold=0.002).tolist() == [False, True, True, True]
    assert active_units(mu, threshold=1).tolist() == [False, False, False, True]


def test_precision_and_recall_far_from_zero_and_of_too_few_points():
    torch.manual_seed(0)
    real, generated = torch.randn(300, 4), 1.2 * torch.randn(300, 4)
    assert precision_recall(real + 1000, generated + 1000) == pytest.approx(precision_recall(real, generated), abs=0.01)
    with pytest.raises(ValueError, match="real should be a tensor .* of 4 rows or more"):
        precision_recall(real[:3], generated)


def test_kl_by_dimension_adds_up_to_the_kl():
    mu, logvar = torch.randn(50, 4), torch.randn(50, 4)
    assert kl_by_dimension(mu, logvar).shape == (4,)
    torch.testing.assert_close(kl_by_dimension(mu, logvar).sum(), gaussian_kl(mu, logvar).mean())
    logvar[:, 2], mu[:, 2] = 0, 0
    assert kl_by_dimension(mu, logvar)[2] == 0


def test_mse_and_psnr_by_hand():
    x_hat, x = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.6)
    assert math.isclose(metrics.mse(x_hat, x), 0.01, rel_tol=1e-5)
    assert math.isclose(metrics.psnr(x_hat, x), 20.0, rel_tol=1e-5)
    bytes_hat, as_bytes = (part.mul(255).round().byte() for part in (x_hat, x))
    assert math.isclose(metrics.mse(bytes_hat, as_bytes), (25 / 255) ** 2, rel_tol=1e-5), "in the same unit"
    for other in (x[:1], x[:0], x[:, 0]):
        with pytest.raises(ValueError, match="images of one shape"):
            metrics.mse(x_hat, other)


def test_psnr_is_that_of_torchmetrics(digits):
    x = data.to_float(digits.test[:20])
    x_hat = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    expected = peak_signal_noise_ratio(x_hat, x, data_range=1.0).item()
    assert math.isclose(metrics.psnr(x_hat, x), expected, rel_tol=1e-5)
    assert metrics.psnr(x, x) == math.inf


def test_ssim(digits):
    x = data.to_float(digits.test[:20])
    assert math.isclose(metrics.ssim(x, x), 1.0, rel_tol=1e-5)
    noise = torch.randn_like(x)
    noisy = [(x + sigma * noise).clamp(0, 1) for sigma in (0.05, 0.2)]
    assert 1 > metrics.ssim(noisy[0], x) > metrics.ssim(noisy[1], x) > 0


def test_probes_tell_codes_apart():
    labels, test_labels = torch.arange(300) % 3, torch.arange(90) % 3
    codes, test_codes = (torch.eye(3)[y] + 0.05 * torch.randn(len(y), 3) for y in (labels, test_labels))
    for probe in (metrics.knn_accuracy, metrics.linear_probe):
        assert probe(codes, labels, test_codes, test_labels) == 1.0
        chance = probe(torch.randn(300, 3), labels, torch.randn(90, 3), test_labels)
        assert 0.1 < chance < 0.6
    ring, test_ring = torch.randn(300, 2), torch.randn(90, 2)  # inside or outside a circle: no line separates them
    split = (ring, (ring.norm(dim=1) > 1.2).long(), test_ring, (test_ring.norm(dim=1) > 1.2).long())
    assert metrics.knn_accuracy(*split) > 0.9 > metrics.linear_probe(*split)


def test_nearest_distance_by_hand():
    references = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    images = torch.stack([torch.full((1, 2, 2), 0.1), torch.full((1, 2, 2), 0.8), torch.ones(1, 2, 2)])
    assert torch.allclose(metrics.nearest_distance(images, references), torch.tensor([0.01, 0.04, 0.0]), atol=1e-6)


@pytest.mark.parametrize("entry", range(3))
def test_nyquist_power_by_hand(entry):
    # A single bright pixel has the power 1 at every frequency. Stripes of amplitude a add a·height·width at one.
    i, j = torch.arange(8.0).view(-1, 1), torch.arange(6.0).view(1, -1)
    stripes = 1 - 2 * ((i + 0 * j, 0 * i + j, i + j)[entry] % 2)
    dot = torch.zeros(8, 6)
    dot[0, 0] = 1
    expected = torch.ones(3)
    assert torch.allclose(metrics.nyquist_power(dot.view(1, 1, 8, 6)), expected)
    expected[entry] = (1 + 0.5 * 8 * 6) ** 2
    images = (dot + 0.5 * stripes).expand(2, 3, 8, 6)
    assert torch.allclose(metrics.nyquist_power(images), expected, rtol=1e-4)


def test_nyquist_power_of_smooth_images_and_of_noise():
    side = torch.arange(28.0, dtype=torch.double) - 13.3
    smooth = torch.exp(-(side.view(-1, 1).square() + side.square()) / 4).view(1, 1, 28, 28)
    assert metrics.nyquist_power(smooth).max() < 0.5
    noise = metrics.nyquist_power(torch.randn(1000, 1, 28, 28))
    assert torch.allclose(noise, torch.ones(3), atol=0.2)


# What is not defined is refused, and said


NAN = torch.tensor([[0.0, 1.0], [float("nan"), 2.0], [3.0, 1.0], [1.0, 1.0], [2.0, 5.0]])
GOOD = torch.randn(200, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.rand(2, 1, 28, 28) * 255,
        torch.rand(2, 1, 28, 28) * 2 - 1,
        torch.full((2, 1, 28, 28), float("nan")),
        torch.zeros(2, 1, 28, 28, dtype=torch.int64),
        torch.zeros(2, 1, 28, 28).numpy(),
    ],
    ids=["0 to 255", "-1 to 1", "nan", "int64", "NumPy"],
)
@pytest.mark.parametrize("metric", [metrics.mse, metrics.psnr, metrics.ssim, metrics.nearest_distance])
def test_what_is_no_image_is_refused_in_the_same_words(metric, pixels):
    x = torch.rand(2, 1, 28, 28)
    for pair in ((pixels, x), (x, pixels)):
        with pytest.raises(ValueError, match=r"should be a tensor of pixels, uint8 or floats in \[0, 1\]"):
            metric(*pair)


@pytest.mark.parametrize(
    "function, arguments, problem",
    [
        (metrics.mutual_information_gap, (GOOD, torch.zeros(200, 2, dtype=torch.int64)), "factor 0 .* same value"),
        (metrics.mutual_information_gap, (GOOD[:, :1], torch.arange(200)[:, None]), "2 or more"),
        (metrics.mutual_information_gap, (NAN, torch.arange(5)[:, None]), "nan"),
        (metrics.separated_attribute_predictability, (GOOD, torch.ones(200, 1, dtype=torch.int64)), "same value"),
        (metrics.separated_attribute_predictability, (GOOD[:, :1], torch.arange(200)[:, None]), "2 or more"),
        (metrics.separated_attribute_predictability, (NAN, torch.arange(5)[:, None]), "nan"),
        (metrics.discretize, (NAN,), "nan"),
        (metrics.active_units, (NAN,), "nan"),
        (metrics.active_units, (GOOD[:1],), "2 rows"),
        (metrics.frechet_distance, (NAN, NAN), "nan"),
        (metrics.frechet_distance, (GOOD, GOOD[:1]), "others .* 2 rows"),
        (metrics.precision_recall, (NAN, NAN[2:]), "nan"),
        (metrics.precision_recall, (GOOD, GOOD[:3]), "generated .* 4 rows"),
        (metrics.perplexity, (torch.tensor([0, 1, 2, 3]), 2), "from 0 to 1"),
        (metrics.perplexity, (torch.tensor([], dtype=torch.int64), 2), "some indices"),
        (metrics.perplexity, (torch.tensor([-1, 0]), 2), "from 0 to 1"),
    ],
)
def test_a_metric_of_degenerate_input_says_so(function, arguments, problem):
    with pytest.raises(ValueError, match=problem):
        function(*arguments)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_metrics_that_need_a_broken_library_say_why(monkeypatch, error):
    def broken(name, *rest):
        raise error("operator torchvision::nms does not exist")

    monkeypatch.setattr(metrics.importlib, "import_module", broken)
    for metric, arguments in ((metrics.ssim, [torch.rand(2, 1, 28, 28)] * 2), (metrics.frechet_distance, [GOOD] * 2)):
        with pytest.raises(ImportError, match="cannot be computed, because .*torchvision::nms"):
            metric(*arguments)
