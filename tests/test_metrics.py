"""Fréchet distance, precision and recall, active units: against formulas, by hand, and by brute force."""

import math

import pytest
import torch

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
    with pytest.raises(ValueError, match="more than k = 3 points; there are 3 and 300"):
        precision_recall(real[:3], generated)


def test_kl_by_dimension_adds_up_to_the_kl():
    mu, logvar = torch.randn(50, 4), torch.randn(50, 4)
    assert kl_by_dimension(mu, logvar).shape == (4,)
    torch.testing.assert_close(kl_by_dimension(mu, logvar).sum(), gaussian_kl(mu, logvar).mean())
    logvar[:, 2], mu[:, 2] = 0, 0
    assert kl_by_dimension(mu, logvar)[2] == 0
