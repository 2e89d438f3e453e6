"""The likelihood and the divergence of the variational autoencoders: against torch.distributions, and by sampling."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from aecourse.losses import bernoulli_nll, gaussian_kl, squared_error


def test_kl_is_that_of_torch():
    mu, logvar = 3 * torch.randn(50, 7), 3 * torch.randn(50, 7)
    posterior = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    prior = Independent(Normal(torch.zeros(7), torch.ones(7)), 1)
    kl = gaussian_kl(mu, logvar)
    assert kl.shape == (50,)
    torch.testing.assert_close(kl, kl_divergence(posterior, prior), rtol=1e-4, atol=1e-4)


def test_kl_by_hand():
    one = torch.ones(1, 1)
    assert gaussian_kl(0 * one, 0 * one).item() == 0
    assert gaussian_kl(2 * one, 0 * one).item() == pytest.approx(2)
    assert gaussian_kl(0 * one, math.log(4) * one).item() == pytest.approx(1.5 - math.log(2)), "σ = 2"


def test_kl_is_what_sampling_finds():
    mu = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.5, 3.0]], dtype=torch.double)
    logvar = torch.tensor([[0.0, 0.0], [-2.0, 1.0], [1.5, -4.0]], dtype=torch.double)
    posterior, prior = Normal(mu, (0.5 * logvar).exp()), Normal(torch.zeros(2).double(), torch.ones(2).double())
    z = posterior.sample((100_000,))
    ratios = (posterior.log_prob(z) - prior.log_prob(z)).sum(dim=2)
    error = ratios.std(dim=0) / math.sqrt(len(z))
    assert error.max() < 0.02
    assert ((ratios.mean(dim=0) - gaussian_kl(mu, logvar)).abs() <= 4 * error).all()


def test_gradient_of_the_kl_pulls_to_the_standard_normal():
    mu, logvar = torch.randn(2, 3, 4, dtype=torch.double).unbind()
    gradients = torch.autograd.grad(gaussian_kl(mu.requires_grad_(), logvar.requires_grad_()).sum(), (mu, logvar))
    torch.testing.assert_close(gradients[0], mu.detach())
    torch.testing.assert_close(gradients[1], (logvar.exp() - 1).detach() / 2)


def test_cross_entropy_is_the_likelihood_of_black_and_white_pixels():
    logits, x = 3 * torch.randn(5, 1, 6, 4), torch.randint(2, (5, 1, 6, 4)).float()
    expected = -Bernoulli(logits=logits).log_prob(x).sum(dim=(1, 2, 3))
    nats = bernoulli_nll(logits, x)
    assert nats.shape == (5,)
    torch.testing.assert_close(nats, expected)


def test_cross_entropy_of_grey_pixels_by_hand():
    logits, x = torch.randn(3, 1, 5, 5, dtype=torch.double), torch.rand(3, 1, 5, 5, dtype=torch.double)
    p = logits.sigmoid()
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(dim=1)
    torch.testing.assert_close(bernoulli_nll(logits, x), expected)
    assert bernoulli_nll(torch.zeros(1, 1, 28, 28), torch.rand(1, 1, 28, 28)).item() == pytest.approx(
        784 * math.log(2), rel=1e-5
    ), "logits of 0 know nothing: one bit a pixel, whatever the image"


def test_the_least_cross_entropy_is_the_entropy_of_the_pixels():
    x = 0.01 + 0.98 * torch.rand(4, 1, 5, 5, dtype=torch.double)
    entropy = Bernoulli(x).entropy().flatten(1).sum(dim=1)
    best = x.logit().requires_grad_()
    floor = bernoulli_nll(best, x)
    torch.testing.assert_close(floor, entropy)
    (gradient,) = torch.autograd.grad(floor.sum(), best)
    assert gradient.abs().max() < 1e-9
    for shift in (-0.5, 0.01, 2):
        assert (bernoulli_nll(best + shift, x) > floor).all()
    assert bernoulli_nll(torch.full((1, 1, 5, 5), 40.0), torch.ones(1, 1, 5, 5)).item() < 1e-6


def test_cross_entropy_of_extreme_logits_is_finite():
    logits = torch.full((2, 1, 1, 1), 1000.0, requires_grad=True)
    nats = bernoulli_nll(logits, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    assert nats.tolist() == [1000, 0]
    (gradient,) = torch.autograd.grad(nats.sum(), logits)
    assert gradient.flatten().tolist() == [1, 0]


def test_cross_entropy_does_not_broadcast():
    with pytest.raises(ValueError, match="size"):
        bernoulli_nll(torch.zeros(3, 1, 28, 28), torch.zeros(1, 1, 28, 28))


def test_squared_error_by_hand():
    x_hat, x = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]), torch.tensor([[[0.0, 0.0]], [[0.0, -3.0]]])
    assert squared_error(x_hat, x).tolist() == [5.0, 9.0]
