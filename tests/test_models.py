"""Models, losses and metrics: against PCA, scikit-learn, and numbers worked out by hand."""

import math
import os

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from aecourse import data, losses, metrics
from aecourse.models import (
    ConvolutionalAutoencoder,
    ConvolutionalVAE,
    DenseAutoencoder,
    DenseVAE,
    DigitClassifier,
    LinearAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    count_parameters,
    reparameterize,
)
from aecourse.training import evaluate, fit, in_batches

MODELS = [DenseAutoencoder, LinearAutoencoder, SparseAutoencoder, ConvolutionalAutoencoder]
VAES = [DenseVAE, ConvolutionalVAE]


@pytest.mark.parametrize("model_class", [DenseAutoencoder, SparseAutoencoder, ConvolutionalAutoencoder])
def test_decoded_pixels_lie_between_0_and_1(model_class):
    x_hat = model_class(latent_dim=5).decode(1000 * torch.randn(50, 5))
    assert x_hat.min() >= 0 and x_hat.max() <= 1


def test_sparse_loss_by_hand():
    model, x = SparseAutoencoder(latent_dim=6, penalty=0.3), torch.rand(2, 1, 28, 28)
    z, x_hat = model.encode(x), model(x)
    reconstruction = sum(((x_hat[i] - x[i]) ** 2).sum().item() for i in range(2)) / 2
    l1 = sum(abs(value) for value in z.flatten().tolist()) / 2
    assert math.isclose(model.loss(x)["loss"].item(), reconstruction + 0.3 * l1, rel_tol=1e-5)
    assert z.min() == 0


def test_parameters_of_the_dense_model():
    layers = [(784, 256), (256, 128), (128, 32), (32, 128), (128, 256), (256, 784)]
    assert count_parameters(DenseAutoencoder(32)) == sum(a * b + b for a, b in layers) == 476_720


def test_parameters_of_the_convolutional_model():
    linear = 2048 * 32 + 32 + 32 * 2048 + 2048
    down, up = [(1, 32), (32, 64), (64, 128)], [(128, 64), (64, 32), (32, 1)]
    convolutions = sum(9 * a * b + b for a, b in down + up)
    norms = sum(2 * channels for channels in (32, 64, 128, 128, 64, 32))
    assert count_parameters(ConvolutionalAutoencoder(32)) == linear + convolutions + norms == 319_265


def test_from_pca_is_sklearns_pca(digits):
    x = data.to_float(digits.test)
    pca = PCA(10, svd_solver="full").fit(data.to_float(digits.train).flatten(1).numpy())
    expected = pca.inverse_transform(pca.transform(x.flatten(1).numpy()))
    x_hat = in_batches(LinearAutoencoder.from_pca(digits.train, 10), digits.test)
    np.testing.assert_allclose(x_hat.flatten(1).numpy(), expected, atol=1e-3)


def clipped_error(model, images):
    """Squared error per pixel of reconstructions that are clipped to [0, 1]."""
    return metrics.mse(in_batches(model, images).clamp(0, 1), images)


def test_trained_models_beat_pca_and_the_mean_image(digits):
    x = data.to_float(digits.test)
    mean = data.to_float(digits.train).mean(0, keepdim=True)
    mean_error = metrics.mse(mean.expand_as(x), x)
    pca_error = clipped_error(LinearAutoencoder.from_pca(digits.train, 8), digits.test)
    errors = {}
    for model_class, lr in ((LinearAutoencoder, 1e-2), (DenseAutoencoder, 3e-3)):
        torch.manual_seed(0)
        model = model_class(8)
        fit(model, digits.train, epochs=200, lr=lr, device="cpu", progress=False)
        errors[model_class] = clipped_error(model, digits.test)
    assert pca_error < mean_error / 2
    assert errors[LinearAutoencoder] < 1.02 * pca_error
    assert errors[DenseAutoencoder] < 0.9 * pca_error


@pytest.mark.skipif("AECOURSE_DATA" not in os.environ, reason="needs MNIST itself")
def test_pca_of_mnist_lands_on_the_known_errors():
    mnist = data.load("mnist")
    x = data.to_float(mnist.test)
    assert math.isclose(
        metrics.mse(data.to_float(mnist.train).mean(0, keepdim=True).expand_as(x), x), 0.06747, abs_tol=5e-5
    )
    for size, expected in ((8, 0.03744), (32, 0.01683)):
        pca = LinearAutoencoder.from_pca(torch.cat([mnist.train, mnist.val]), size)
        assert math.isclose(evaluate(pca, mnist.test)["reconstruction"] / 784, expected, abs_tol=1e-5)
    assert math.isclose(clipped_error(pca, mnist.test), 0.0152, abs_tol=5e-5), "of 32 dimensions"


def test_reparameterize_draws_from_the_gaussian():
    mu, logvar = torch.tensor([[2.0, -1.0, 0.0], [0.0, 5.0, -3.0]]), torch.tensor([[0.0, 2.0, -4.0], [-1.0, 1.0, 3.0]])
    z = torch.stack([reparameterize(mu, logvar) for _ in range(10_000)])
    sigma = (0.5 * logvar).exp()
    assert ((z.mean(dim=0) - mu).abs() < 4 * sigma / 100).all()
    torch.testing.assert_close(z.std(dim=0), sigma, rtol=0.03, atol=0)
    together = z.flatten(start_dim=1).T.corrcoef() - torch.eye(6)
    assert together.abs().max() < 0.04, "each number of each code has noise of its own"
    tails = ((z - mu).abs() > 2 * sigma).float().mean()
    assert abs(tails - math.erfc(math.sqrt(2))) < 0.004, "a normal distribution and no other"


def test_gradients_pass_through_the_draw():
    mu, logvar = torch.randn(2, 4, 3, dtype=torch.double).unbind()
    z = reparameterize(mu.requires_grad_(), logvar.requires_grad_())
    gradients = torch.autograd.grad(z.sum(), (mu, logvar))
    torch.testing.assert_close(gradients[0], torch.ones_like(mu))
    torch.testing.assert_close(gradients[1], (z - mu).detach() / 2)


def test_the_random_state_decides_the_draw():
    mu, logvar = torch.zeros(1, 2), torch.zeros(1, 2)
    torch.manual_seed(7)
    first, second = reparameterize(mu, logvar), reparameterize(mu, logvar)
    torch.manual_seed(7)
    assert torch.equal(reparameterize(mu, logvar), first) and not torch.equal(first, second)


@pytest.mark.parametrize("model_class", VAES)
def test_skeleton_of_a_vae(model_class):
    model, x = model_class(latent_dim=5), torch.rand(3, 1, 28, 28)
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (3, 5) and not torch.allclose(mu, logvar)
    assert model.decode_logits(mu).shape == model.decode(mu).shape == x.shape
    assert torch.equal(model.decode(mu), model.decode_logits(mu).sigmoid())
    assert [term.shape for term in model.elbo(x)] == [(3,), (3,)]
    terms = model.loss(x)
    assert set(terms) == {"loss", "reconstruction", "kl"} and all(value.ndim == 0 for value in terms.values())
    model.eval()
    assert model(x[:1]).shape == (1, 1, 28, 28) and model.unit == "nats per image" and model.beta == 1


@pytest.mark.parametrize("model_class", VAES)
@pytest.mark.parametrize("training", [True, False])
def test_elbo_at_one_draw_by_hand_in_either_mode(model_class, training):
    model, x = model_class(latent_dim=5).train(training), torch.rand(4, 1, 28, 28)
    torch.manual_seed(7)
    reconstruction, kl = model.elbo(x)
    torch.manual_seed(7)
    mu, logvar = model.encode(x)
    p = model.decode_logits(mu + (0.5 * logvar).exp() * torch.randn(4, 5)).double().sigmoid()
    log_likelihood = (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(dim=1)
    torch.testing.assert_close(reconstruction.double(), -log_likelihood, rtol=1e-5, atol=0)
    torch.testing.assert_close(kl, 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1))
    again = model.elbo(x)
    assert not torch.allclose(again[0], reconstruction), "another draw"
    torch.testing.assert_close(again[1], kl)


@pytest.mark.parametrize("model_class", VAES)
def test_the_reconstruction_alone_teaches_encoder_and_decoder(model_class):
    model = model_class(latent_dim=5).eval()
    model.loss(torch.rand(16, 1, 28, 28))["reconstruction"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters()), "through the draw"


@pytest.mark.parametrize("model_class", VAES)
@pytest.mark.parametrize("training", [True, False])
def test_reconstruct_decodes_the_mean_and_draws_nothing(model_class, training):
    model, x = model_class(latent_dim=5).train(training), torch.rand(4, 1, 28, 28)
    state = torch.get_rng_state()
    x_hat = model.reconstruct(x)
    assert torch.equal(x_hat, model.decode(model.encode(x)[0])) and torch.equal(x_hat, model(x))
    with torch.no_grad():
        model.logvar.bias.fill_(10)
    assert torch.equal(model.reconstruct(x), x_hat), "however wide the Gaussian is"
    assert torch.equal(torch.get_rng_state(), state)
    assert x_hat.min() >= 0 and x_hat.max() <= 1


def test_the_loss_takes_whatever_elbo_takes():
    class Conditional(DenseVAE):
        seen = []

        def elbo(self, x, y):
            self.seen.append((x, y))
            return super().elbo(x)

    model, x, y = Conditional(5), torch.rand(3, 1, 28, 28), torch.arange(3)
    assert set(model.loss(x, y)) == {"loss", "reconstruction", "kl"}
    assert model.seen[0][0] is x and model.seen[0][1] is y


def test_a_decoder_that_ignores_the_code_pays_its_kl_for_nothing():
    class Deaf(VariationalAutoencoder):
        """log p(x) is known: the pixels do not depend on the code."""

        def __init__(self, mu, logvar):
            super().__init__()
            self.gaussian = mu, logvar

        def encode(self, x):
            return tuple(value.expand(len(x), 2) for value in self.gaussian)

        def decode_logits(self, z):
            return torch.ones(len(z), 1, 28, 28)

    x = torch.rand(3, 1, 28, 28)
    log_likelihood = (x * math.log(1 / (1 + math.exp(-1))) + (1 - x) * math.log(1 / (1 + math.e))).sum() / 3
    prior = Deaf(torch.zeros(2), torch.zeros(2)).loss(x)
    assert prior["loss"].item() == pytest.approx(-log_likelihood.item(), rel=1e-5) and prior["kl"] == 0
    other = Deaf(torch.tensor([3.0, 0.0]), torch.zeros(2)).loss(x)
    assert (other["loss"] - prior["loss"]).item() == pytest.approx(4.5, rel=1e-3)


def test_parameters_of_the_vaes():
    layers = [(784, 400), (400, 20), (400, 20), (20, 400), (400, 784)]
    assert count_parameters(DenseVAE(20)) == sum(a * b + b for a, b in layers) == 652_824
    maps = 64 * 7 * 7
    linear = 2 * (maps * 20 + 20) + 20 * maps + maps
    convolutions = sum(9 * a * b + b for a, b in [(1, 32), (32, 64), (64, 32), (32, 1)])
    norms = sum(2 * channels for channels in (32, 64, 64, 32))
    assert count_parameters(ConvolutionalVAE(20)) == linear + convolutions + norms == 229_289


def test_a_trained_vae_beats_the_mean_image_in_nats(digits):
    x, train = data.to_float(digits.test), data.to_float(digits.train)
    mean = train.mean(dim=0, keepdim=True).clamp(1e-4, 1 - 1e-4)
    mean_nats = losses.bernoulli_nll(mean.logit().expand_as(x), x).mean().item()
    model = DenseVAE(8)
    fit(model, digits.train, epochs=15, device="cpu", progress=False)
    terms = evaluate(model, digits.test)
    assert terms["loss"] < mean_nats - 10, "its bound, KL included"
    assert terms["reconstruction"] < mean_nats - 15 and terms["kl"] > 3, "it uses its code"
    squared = metrics.mse(in_batches(model, digits.test), x)
    assert squared < 0.7 * metrics.mse(mean.expand_as(x), x), "and so do its reconstructions"


def test_classifier():
    model, x, y = (
        DigitClassifier(num_classes=7, num_features=12),
        torch.rand(5, 1, 28, 28),
        torch.tensor([0, 6, 3, 3, 1]),
    )
    model.eval()
    features, logits = model.features(x), model(x)
    assert features.shape == (5, 12) and features.min() >= 0 and logits.shape == (5, 7)
    assert torch.equal(model.head(features), logits)
    scores = [[math.exp(value) for value in row] for row in logits.tolist()]
    expected = -sum(math.log(row[label] / sum(row)) for row, label in zip(scores, y.tolist())) / 5
    assert model.loss(x, y)["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert model.loss(x.repeat(3, 1, 1, 1), y.repeat(3))["loss"].item() == pytest.approx(expected, rel=1e-5)
    model.loss(x, y)["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
