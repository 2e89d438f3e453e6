"""Mutual information, MIG and SAP: against scikit-learn, and on codes whose score is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from aecourse import metrics

VALUES = (3, 6, 8, 20)


@pytest.fixture
def factors():
    """10,000 draws of four independent factors."""
    return torch.stack([torch.randint(values, (10_000,)) for values in VALUES], dim=1)


@pytest.mark.parametrize("k, m", [(2, 2), (20, 3), (5, 40), (1, 4), (3000, 8)])
def test_mutual_information_agrees_with_scikit_learn(k, m):
    a = torch.randint(k, (20_000,))
    b = (a * 3 + torch.randint(m, (20_000,)) // 2) % m
    expected = mutual_info_score(a.numpy(), b.numpy())
    assert metrics.mutual_information(a, b) == pytest.approx(expected, abs=1e-9)
    assert metrics.mutual_information(b, a) == pytest.approx(expected, abs=1e-9)


def test_mutual_information_of_a_variable_with_itself_is_its_entropy():
    even = torch.arange(4000) % 8
    assert metrics.mutual_information(even, even) == pytest.approx(math.log(8))
    assert metrics.mutual_information(even, 7 - even) == pytest.approx(math.log(8))
    assert metrics.mutual_information(even, even // 4) == pytest.approx(math.log(2))
    assert metrics.mutual_information(even, torch.zeros_like(even)) == 0


def test_what_is_found_by_chance_is_what_the_docstring_says():
    found = [metrics.mutual_information(torch.randint(20, (10_000,)), torch.randint(32, (10_000,))) for _ in range(20)]
    assert np.mean(found) == pytest.approx(19 * 31 / 20_000, rel=0.05)


def test_discretize_makes_equally_wide_bins_from_least_to_largest():
    codes = torch.stack([torch.linspace(-3, 5, 801), torch.zeros(801), 1e6 * torch.linspace(0, 1, 801) ** 2], dim=1)
    bins = metrics.discretize(codes, bins=8)
    assert bins.shape == codes.shape and bins.dtype == torch.int64
    assert torch.equal(bins[:-1, 0], (codes[:-1, 0] + 3).floor().long()) and bins[-1, 0] == 7
    assert not bins[:, 1].any()
    assert torch.bincount(bins[:, 2])[0] > 3 * torch.bincount(bins[:, 2])[7], "equally wide, not equally full"
    assert metrics.discretize(codes).max() == 19


def test_discretize_agrees_with_numpy(factors):
    codes = torch.randn(1000, 3).double()
    for binned, column in zip(metrics.discretize(codes).T, codes.T.numpy()):
        edges = np.histogram(column, 20)[1][:-1]
        np.testing.assert_array_equal(binned.numpy(), np.digitize(column, edges) - 1)


def test_a_number_of_the_code_knows_the_factor_it_copies_and_no_other(factors):
    copy = metrics.discretize(factors[:, 2:3].float())[:, 0]
    assert metrics.mutual_information(copy, factors[:, 2]) == pytest.approx(math.log(8), abs=0.03)
    assert metrics.mutual_information(copy, factors[:, 0]) == pytest.approx(0, abs=0.03)


def test_information_gap_by_hand():
    information = torch.tensor([[0.5, 0.0], [2.0, 0.3], [0.9, 0.3]])
    gap = metrics.information_gap(information, torch.tensor([2.2, 0.6]))
    torch.testing.assert_close(gap, torch.tensor([0.5, 0.0]))


def test_mig_is_one_for_a_copy_in_any_order_and_scale(factors):
    copy = torch.cat([factors.float(), torch.zeros(10_000, 2)], dim=1)[:, [3, 5, 0, 1, 2, 4]]
    gap = metrics.mutual_information_gap(100 - 7 * copy, factors)
    assert gap.shape == (4,)
    assert (gap > 0.95).all() and (gap <= 1).all()


def test_mig_is_near_zero_for_noise_and_for_two_copies(factors):
    assert metrics.mutual_information_gap(torch.randn(10_000, 10), factors).abs().max() < 0.01
    twice = factors.float().repeat(1, 2)
    assert metrics.mutual_information_gap(twice, factors).abs().max() < 1e-6


def test_rotation_destroys_mig_and_sap(factors):
    copy = (factors - factors.float().mean(dim=0)) / factors.float().std(dim=0)
    half = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    everything_everywhere = torch.kron(half, half) / 2  # a rotation that gives each number a quarter of each factor
    random = torch.linalg.qr(torch.randn(4, 4)).Q
    for turn, mig, sap in ((everything_everywhere, 0.05, 0.05), (random, 0.5, 0.6)):
        turned = copy @ turn
        torch.testing.assert_close(turned @ turn.T, copy, atol=1e-4, rtol=0)
        assert metrics.mutual_information_gap(turned, factors).mean() < mig
        assert metrics.separated_attribute_predictability(turned, factors).mean() < sap


def test_more_values_than_bins_cannot_reach_one():
    factors = torch.stack([torch.arange(10_000) % 40, torch.randint(3, (10_000,))], dim=1)
    gap = metrics.mutual_information_gap(factors.float(), factors)
    assert gap[0] == pytest.approx(math.log(20) / math.log(40), abs=0.01)
    assert metrics.mutual_information_gap(factors.float(), factors, bins=40)[0] > 0.98


def test_sap_is_one_for_a_copy_and_for_categories_what_guessing_leaves(factors):
    copy = torch.cat([factors.float(), torch.randn(10_000, 3)], dim=1)[:, [6, 2, 0, 3, 4, 1, 5]]
    sap = metrics.separated_attribute_predictability(1 - 9 * copy, factors, categorical=(0,))
    assert sap.shape == (4,)
    torch.testing.assert_close(sap, torch.tensor([2 / 3, 1.0, 1.0, 1.0]), atol=0.02, rtol=0)


def test_sap_of_an_ordered_factor_is_the_gap_in_r_squared():
    factor = torch.randint(10, (10_000, 1))
    codes = factor + torch.tensor([1.0, 4.0, 9.0]) * torch.randn(10_000, 3)
    expected = [np.corrcoef(codes[:, i], factor[:, 0])[0, 1] ** 2 for i in (0, 1)]
    assert metrics.separated_attribute_predictability(codes, factor).item() == pytest.approx(expected[0] - expected[1])


def test_sap_sees_categories_without_order():
    kind = torch.arange(9000) % 3
    codes = torch.stack([torch.tensor([0.0, 9.0, 0.1])[kind] + 3.0 * (kind == 2), torch.randn(9000)], dim=1)
    sap = metrics.separated_attribute_predictability(codes, kind[:, None], categorical=(0,))
    assert sap.item() == pytest.approx(2 / 3, abs=0.03)
    assert metrics.separated_attribute_predictability(codes, kind[:, None]).item() < 0.3


def test_sap_is_near_zero_for_noise_and_for_two_copies(factors):
    for codes in (torch.randn(10_000, 10), factors.float().repeat(1, 2), torch.zeros(10_000, 3)):
        assert metrics.separated_attribute_predictability(codes, factors, categorical=(0,)).abs().max() < 0.02
