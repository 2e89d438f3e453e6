"""The course's answers to the exercises against independent computations, since the checks compare with them."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal
from torch.nn import functional as F

from aecourse import corruption, latent, losses, metrics, models
from aecourse.data import draw_sprites


def test_noise_has_its_standard_deviation_before_it_is_clipped():
    grey = torch.full((50, 1, 28, 28), 0.5)
    sigma = torch.linspace(0.01, 0.1, 50).view(50, 1, 1, 1)
    for s in (0.05, sigma):
        noise = corruption.add_noise(grey, s) - grey
        assert torch.allclose(noise.std(dim=(1, 2, 3)), torch.as_tensor(s).expand(50, 1, 1, 1).flatten(), rtol=0.15)
        assert noise.mean().abs() < 0.002
    noisy = corruption.add_noise(torch.rand(5, 3, 8, 6), 2.0)
    assert noisy.min() == 0 and noisy.max() == 1


def test_a_block_lies_within_the_image_and_anywhere_in_it():
    holes = 1 - corruption.knock_out(torch.ones(4000, 2, 9, 7), size=3)
    assert (holes.sum(dim=(2, 3)) == 9).all() and torch.equal(holes[:, 0], holes[:, 1])
    corners = {(int(hole.any(1).nonzero()[0]), int(hole.any(0).nonzero()[0])) for hole in holes[:, 0]}
    assert corners == {(top, left) for top in range(7) for left in range(5)}


def test_the_linear_denoiser_is_least_squares_with_intercept():
    noisy, clean = torch.rand(80, 1, 4, 5), torch.rand(80, 1, 4, 5)
    weight, bias = models.linear_denoiser(noisy, clean)
    inputs = np.hstack([noisy.flatten(1).numpy(), np.ones((80, 1))])
    best, *_ = np.linalg.lstsq(inputs.astype(float), clean.flatten(1).numpy().astype(float), rcond=None)
    assert np.allclose(weight, best[:-1], atol=1e-3) and np.allclose(bias, best[-1], atol=1e-3)


def test_a_denoising_loss_compares_with_the_clean_images():
    x = torch.rand(6, 1, 28, 28)
    loss = losses.denoising_loss(lambda x: x / 2, x, lambda x: x + 0.5)
    assert torch.isclose(loss, ((x + 0.5) / 2 - x).square().sum() / 6)
    assert torch.isclose(losses.reconstruction_loss(lambda x: x / 2, x), (x / 2).square().sum() / 6)


@pytest.mark.parametrize("size, kernel, stride, padding", [(28, 3, 2, 1), (27, 5, 3, 0), (9, 4, 2, 1), (8, 1, 1, 0)])
def test_sizes_are_those_of_the_layers(size, kernel, stride, padding):
    x = torch.zeros(1, 1, size, size)
    out = nn.Conv2d(1, 1, kernel, stride, padding)(x)
    assert models.conv_output_size(size, kernel, stride, padding) == out.shape[-1]
    for extra in range(stride):
        out = nn.ConvTranspose2d(1, 1, kernel, stride, padding, output_padding=extra)(x)
        assert models.transposed_output_size(size, kernel, stride, padding, extra) == out.shape[-1]


@pytest.mark.parametrize("layers", [[(3, 1)], [(3, 2), (3, 2), (3, 2)], [(5, 3), (2, 2), (4, 1)], []])
def test_the_receptive_field_is_where_a_gradient_arrives(layers):
    x = torch.zeros(1, 1, 64, 64, requires_grad=True)
    convolutions = nn.Sequential(*(nn.Conv2d(1, 1, kernel, stride) for kernel, stride in layers))
    for parameter in convolutions.parameters():
        nn.init.ones_(parameter)
    out = convolutions(x)
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    assert models.receptive_field(layers) == x.grad[0, 0].any(dim=0).sum()


def test_reconstruction_error_is_the_mean_over_all_pixels_in_evaluation_mode():
    model = nn.Sequential(nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)))
    images = (255 * torch.rand(7, 1, 28, 28)).byte()
    model.train()[0][0].eval()
    x = images / 255
    wanted = ((x / (1 + 1e-5) ** 0.5 - x) ** 2).mean().item()
    assert metrics.reconstruction_error(model, images, batch_size=3) == pytest.approx(wanted, rel=1e-3)
    assert [m.training for m in model.modules()] == [True, True, False, True]


@pytest.mark.parametrize("scale", [2, 3])
def test_upsampling_is_pytorchs(scale):
    x = torch.randn(2, 2 * scale**2, 4, 5)
    assert torch.equal(models.upsample_nearest(x, scale), F.interpolate(x, scale_factor=scale, mode="nearest"))
    assert torch.equal(models.pixel_shuffle(x, scale), F.pixel_shuffle(x, scale))
    layer = nn.Conv2d(3, 2 * scale**2, 3, padding=1)
    models.icnr_(layer, scale)
    out = models.pixel_shuffle(layer(torch.randn(1, 3, 4, 5)), scale)
    assert torch.allclose(out, models.upsample_nearest(out[..., ::scale, ::scale], scale))


def test_phase_power_by_loops():
    images = torch.randn(3, 2, 4, 6)
    power = [[np.square(images.numpy()[..., r::2, c::2]).mean() for c in (0, 1)] for r in (0, 1)]
    assert np.allclose(metrics.phase_power(images), power)


def test_a_resize_convolution_doubles_and_keeps_constants_flat():
    layer = models.resize_convolution(nn.Upsample(scale_factor=2), 3, 5)
    out = layer(torch.ones(2, 3, 4, 6))
    assert out.shape == (2, 5, 8, 12) and out[..., 2:-2, 2:-2].std(dim=(2, 3)).max() < 1e-6


def test_weights_and_bound_agree_with_distributions():
    torch.manual_seed(0)
    vae, x = models.DenseVAE(latent_dim=3), torch.rand(2, 1, 28, 28).round()
    with torch.no_grad():
        torch.manual_seed(1)
        log_w = metrics.log_weights(vae, x, 6)
        torch.manual_seed(1)
        mu, logvar = vae.encode(x)
        q = Normal(mu, (logvar / 2).exp())
        z = q.sample((6,))
        wanted = torch.stack([Bernoulli(logits=vae.decode_logits(one)).log_prob(x).sum((1, 2, 3)) for one in z])
        wanted = wanted + (Normal(0, 1).log_prob(z) - q.log_prob(z)).sum(-1)
        assert torch.allclose(log_w, wanted, atol=1e-3)
        bound = metrics.importance_bound(log_w)
        assert torch.allclose(bound, log_w.double().exp().mean(0).log().float(), atol=1e-3)
        estimates = torch.stack([metrics.elbo_estimate(vae, x) for _ in range(400)])
        means = torch.stack([metrics.log_weights(vae, x, 400).mean(0)])
        error = (estimates.std(0) + estimates.std(0)) / 20
    assert ((estimates.mean(0) - means).abs() < 5 * error).all()


def test_the_conditional_vae_tells_both_halves_the_label():
    vae, x, y = models.ConditionalVAE(latent_dim=3), torch.rand(4, 1, 28, 28), torch.tensor([0, 3, 9, 3])
    assert not torch.allclose(vae.encode(x, y)[0], vae.encode(x, y.roll(1))[0])
    z = torch.randn(4, 3)
    assert not torch.allclose(vae.decode(z, y), vae.decode(z, y.roll(1)))
    assert torch.allclose(vae.decode(z, y), vae.decode_logits(z, y).sigmoid())


def test_paths_through_a_latent_space():
    start, end = torch.randn(2, 3, 5)
    path = latent.interpolate(start, end, steps=4)
    assert path.shape == (4, 3, 5) and torch.allclose(path[1], start + (end - start) / 3)
    assert torch.equal(path[0], start) and torch.allclose(path[-1], end)
    z = torch.randn(4)
    walk = latent.traverse(z, 2, torch.tensor([-1.0, 7.0]))
    assert walk[:, 2].tolist() == [-1, 7] and torch.equal(walk[:, [0, 1, 3]], z[[0, 1, 3]].expand(2, 3))


def test_an_attribute_vector_is_a_mean_difference():
    factors = torch.zeros(5, 5, dtype=torch.int64)
    factors[:, 0] = torch.tensor([0, 1, 2, 0, 1])
    low, high = factors.clone(), factors.clone()
    low[:, 1], high[:, 1] = 0, 5
    ink = draw_sprites(high).float().div(255).sum((1, 2, 3)) - draw_sprites(low).float().div(255).sum((1, 2, 3))
    moved = latent.attribute_vector(InkModel(), factors, 1, 0, 5)
    assert torch.allclose(moved, ink.mean().expand(3), rtol=1e-3)


class InkModel(nn.Module):
    """Encodes an image as how much ink it has, three times."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def encode(self, x):
        ink = x.flatten(1).sum(1, keepdim=True) * self.weight
        return ink, ink


def test_effective_beta_makes_the_same_loss_up_to_a_factor():
    squares, kl = torch.rand(784).double(), torch.rand(20).double()
    for reconstruction in ("sum", "mean"):
        for divergence in ("sum", "mean"):
            beta = losses.effective_beta(0.3, 784, 20, reconstruction, divergence)
            given = getattr(squares, reconstruction)() + 0.3 * getattr(kl, divergence)()
            factor = 784 if reconstruction == "mean" else 1
            assert (squares.sum() + beta * kl.sum()).item() == pytest.approx(factor * given.item())


def test_a_capacity_is_a_target_from_both_sides():
    reconstruction, kl = torch.tensor([40.0, 50.0]), torch.tensor([3.0, 8.0])
    for capacity in (2.5, 5.5, 9.25):
        loss = losses.capacity_loss(reconstruction, kl, capacity, gamma=1.5)
        assert loss.item() == pytest.approx(45 + 1.5 * abs(5.5 - capacity))


def test_entropies_and_bits():
    q = torch.tensor([[0.0, 1], [0, 2], [1, 3], [1, 4]])
    assert metrics.code_entropy(q) == pytest.approx(math.log(2) + math.log(4))
    assert metrics.bits_per_image(math.log(2), positions=49) == pytest.approx(49)
    assert metrics.bits_per_image(0.0, positions=49, num_classes=8) == pytest.approx(3)


def test_attention_is_pytorchs_and_a_causal_mask_looks_back():
    q, k, v = torch.randn(2, 3, 6, 5), torch.randn(2, 3, 7, 5), torch.randn(2, 3, 7, 4)
    mask = torch.rand(6, 7) > 0.5
    mask[:, 0] = True
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(models.attention(q, k, v, mask), wanted, atol=1e-5)
    wanted = F.scaled_dot_product_attention(q, k[..., :6, :], v[..., :6, :], is_causal=True)
    own = models.attention(q, k[..., :6, :], v[..., :6, :], models.causal_mask(6))
    assert torch.allclose(own, wanted, atol=1e-5)


def test_what_a_prior_sees_and_samples():
    codes = torch.arange(12).view(2, 6)
    shifted = models.shift(codes, torch.tensor([90, 91]))
    assert shifted.tolist() == [[90, 0, 1, 2, 3, 4], [91, 6, 7, 8, 9, 10]]
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).repeat(20_000, 1)
    for temperature, top_k in ((0.7, None), (1.3, 2)):
        seen = torch.bincount(models.next_code(logits, temperature, top_k), minlength=4) / 20_000
        p = (logits[0] / temperature).exp()
        p[p < (p.sort().values[-top_k] if top_k else 0)] = 0
        assert torch.allclose(seen, p / p.sum(), atol=0.02)


def test_first_statistics_keep_the_codebook_where_it_is():
    """One step from there leaves an unused code in place, and moves a used one towards its vectors."""
    quantizer = models.EMAQuantizer(num_codes=4, dim=2, threshold=0.0)
    quantizer.codebook.normal_()
    quantizer.init_statistics()
    before, batch = quantizer.codebook.clone(), torch.randn(4, 2)
    n = torch.tensor([0, 1, 3, 100])
    quantizer.update(batch.repeat_interleave(n, dim=0), torch.arange(4).repeat_interleave(n))
    moved = (quantizer.codebook - before).norm(dim=1) / (batch - before).norm(dim=1)
    assert torch.allclose(moved, 0.01 * n / (0.99 + 0.01 * n), atol=1e-5)


def test_finite_scalar_codes_are_one_to_one():
    levels = torch.tensor([4, 3, 2])
    z = torch.logit(torch.cartesian_prod(*(torch.arange(n) / (n - 1) for n in (4, 3, 2))).clamp(0.01, 0.99))
    values, codes = models.finite_scalar(z.T.reshape(1, 3, 24, 1), levels)
    assert codes.flatten().sort().values.equal(torch.arange(24))
    assert len(values[0, :, :, 0].T.unique(dim=0)) == 24 and values.abs().max() <= 1
