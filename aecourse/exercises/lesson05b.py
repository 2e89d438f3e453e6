"""Checks of the second part of lesson 5."""

import math

import torch
from torch import nn
from torch.distributions import Normal

from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_tensor
from aecourse.losses import binary_cross_entropy, gaussian_kl
from aecourse.models import DenseVAE, VariationalAutoencoder, reparameterize


def interpolate(z_start, z_end, steps=10):
    """Evenly spaced points on the straight lines between codes.

    z_start, z_end: (batch, latent). Returns (steps, batch, latent), from z_start to z_end, both included.
    """
    t = torch.linspace(0, 1, steps).view(-1, 1, 1)
    return z_start + t * (z_end - z_start)


@check(
    "5b.1",
    interpolate,
    hints=(
        "At t = 0 it is z_start, at t = 1 z_end. What is it at t = ½?",
        "torch.linspace(0, 1, steps) holds all t. Give it two more axes, so that it meets (batch, latent).",
        "t.view(-1, 1, 1) * z_end has the shape (steps, batch, latent).",
    ),
)
def _interpolate(answer):
    a, b = torch.tensor([[0.0, 10.0], [1.0, 1.0], [5.0, -5.0]]), torch.tensor([[4.0, 2.0], [1.0, 3.0], [5.0, 5.0]])
    out = call(answer, a, b, 5)
    require_tensor(out, (5, 3, 2), "of 3 pairs of codes of 2 numbers, in 5 steps, the result")
    require(not close(out, interpolate(b, a, 5)), "it walks from z_end to z_start.")
    require(close(out[0], a), "the first point should be z_start.")
    require(close(out[-1], b), f"the last point should be z_end; it is {(out[-1] - b).abs().max().item():.3g} off.")
    steps = (out[1:] - out[:-1]).norm(dim=2)
    require(torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-4), "the steps are not equally long.")
    require(close(out, interpolate(a, b, 5)), "the points do not lie on the straight line.")
    require(close(call(answer, a[:1], b[:1], 2), torch.stack([a[:1], b[:1]])), "for one pair in two steps it is wrong.")
    require_tensor(call(answer, a, b), (10, 3, 2), "without a number of steps, which is 10 by default, the result")


def numbers_in_use():
    """A VAE may use 50 numbers for its code. How many does it use on MNIST, after five epochs?

    "all": more than 40. "half": 15 to 35. "few": fewer than 10.
    """
    return "half"


@check(
    "5b.2",
    numbers_in_use,
    prediction=True,
    hints=(
        "A number that says something costs KL. One that says nothing costs none.",
        "With 20 numbers to use, the VAE of part 1 paid about 25 nats.",
    ),
)
def _numbers_in_use(answer):
    choice = require_choice(answer, "all", "half", "few")
    require(choice != "all", "every number in use has to earn what it costs. Most of fifty do not.")
    require(choice != "few", "so few would reconstruct much worse, and reconstruction is the larger term.")


class _Stub(nn.Module):
    """Fixed mu and logvar for every image, a linear decoder."""

    def __init__(self, logvar):
        super().__init__()
        self.mu = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.logvar = nn.Parameter(torch.full((2,), float(logvar)))
        self.weight = nn.Parameter(torch.linspace(-0.2, 0.3, 2 * 784).view(2, 784))

    def encode(self, x):
        return self.mu.expand(len(x), 2), self.logvar.expand(len(x), 2)

    def decode_logits(self, z):
        return (z @ self.weight).view(-1, 1, 28, 28)


class _StubVAE(_Stub, VariationalAutoencoder):
    pass


def loss_in_nats(model, x):
    """reconstruction + kl, both in nats per image, averaged over the batch.

    x: (batch, 1, 28, 28) in [0, 1]. Returns {"loss": …, "reconstruction": …, "kl": …}, scalars.
    """
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    reconstruction = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = gaussian_kl(mu, logvar).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@check(
    "5b.3",
    loss_in_nats,
    hints=(
        "Both terms should be in nats per image. Over what does each of them add up, over what does it average?",
        'With reduction="mean", which is the default, the sum is divided by the number of all pixels of all images.',
        'reduction="sum" adds up everything. What remains to be divided by?',
    ),
)
def _loss_in_nats(answer):
    x = torch.rand(4, 1, 28, 28)
    model = _StubVAE(-60)
    out = answer(model, x)
    require(
        isinstance(out, dict) and {"loss", "reconstruction", "kl"} <= set(out),
        'it should return a dictionary with "loss", "reconstruction" and "kl".',
    )
    for name in ("loss", "reconstruction", "kl"):
        require_tensor(out[name], (), f"its entry {name!r}")
    wanted = binary_cross_entropy(model.decode_logits(model.mu.expand(4, 2)), x).mean()
    kl = gaussian_kl(*model.encode(x)).mean()
    require(
        not close(out["reconstruction"] * 784, wanted),
        f"reconstruction is {out['reconstruction'].item():.3f} where it should be {wanted.item():.0f} nats per image: "
        f"784 times too small.",
        Bug,
    )
    require(not close(out["reconstruction"], wanted * 4), "reconstruction grows with the batch: it is a sum over images.")
    require(
        close(out["reconstruction"], wanted),
        f"reconstruction is {out['reconstruction'].item():.4g} nats per image instead of {wanted.item():.4g}.",
    )
    require(close(out["kl"], kl), f"kl is {out['kl'].item():.4g} nats per image instead of {kl.item():.4g}.")
    require(close(out["loss"], out["reconstruction"] + out["kl"]), "loss should be reconstruction + kl.")
    noisy = _StubVAE(0)
    require(
        answer(noisy, x)["reconstruction"].item() != answer(noisy, x)["reconstruction"].item(),
        "the code is no longer drawn: that was right.",
    )
    gradients = torch.autograd.grad(answer(noisy, x)["loss"], noisy.parameters(), allow_unused=True)
    require(all(g is not None and g.any() for g in gradients), "a gradient no longer reaches encoder or decoder.")


def importance_bound(log_w):
    """The logarithm of the mean weight of each image: an estimate of log p(x) from below.

    log_w: (k, batch), logarithms of the weights of k draws. Returns (batch,), in nats.
    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015.
    """
    return log_w.logsumexp(dim=0) - math.log(len(log_w))


@check(
    "5b.4",
    importance_bound,
    hints=(
        "exp, mean, log. But the exponential of -100 is 0 in single precision.",
        "torch.logsumexp adds up exponentials without computing them. A mean is a sum divided by k.",
        "Dividing by k is subtracting log k.",
    ),
)
def _importance_bound(answer):
    log_w = torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -2.0, 1.0]])
    out = call(answer, log_w)
    require_tensor(out, (3,), "the bound of 3 images from 2 draws each")
    wanted = importance_bound(log_w)
    require(not close(out, log_w.mean(dim=0)), "the mean of the logarithms is the ELBO; the logarithm of the mean is wanted.")
    require(not close(out, log_w.logsumexp(dim=0)), "it is log k too large: the mean of the weights is wanted, not the sum.")
    require(close(out, wanted), f"weights of e⁻¹ and e⁻³ give {out[0].item():.3f}; {wanted[0].item():.3f} is wanted.")
    small = torch.tensor([[-200.0], [-202.0], [-201.0]])
    out = call(answer, small)
    require(
        torch.isfinite(out).all(),
        f"log weights near -200 give {out.item():.3g}: their exponentials are 0 in single precision.",
    )
    require(close(out, importance_bound(small)), "log weights near -200 give a wrong result: is something added or clipped?")
    require(close(call(answer, small[:1]), small[0]), "of a single draw it should be that draw's own logarithm.")


def log_weights(model, x, k):
    """log p(x | z) + log p(z) − log q(z | x) at k codes drawn from q(z | x), for each image.

    x: (batch, 1, 28, 28) in [0, 1]. Returns (k, batch), in nats.
    """
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.sample((k,))
    logits = model.decode_logits(z.flatten(0, 1))
    log_likelihood = -binary_cross_entropy(logits, x.repeat(k, 1, 1, 1)).view(k, len(x))
    return log_likelihood + Normal(0, 1).log_prob(z).sum(dim=2) - q.log_prob(z).sum(dim=2)


@check(
    "5b.5",
    log_weights,
    hints=(
        "Every line but one is right. Which distribution does the encoder mean?",
        "torch.distributions.Normal takes a mean and a standard deviation.",
    ),
)
def _log_weights(answer):
    x = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        for batch in (1, 3):
            out = answer(_StubVAE(-2), x[:batch], 5)
            require_tensor(out, (5, batch), f"the weights of 5 draws for {batch} images")
        require(out.std(dim=0).min() > 0, "all draws of an image have the same weight: are they drawn?")
        model = _StubVAE(-2)
        out, wanted = answer(model, x, 4000), log_weights(model, x, 4000)
        elbo = -sum(term.mean() for term in model.elbo(x.repeat(4000, 1, 1, 1))).item()
        off = (out.mean() - wanted.mean()).item()
        narrow = _narrow(model, x)
        require(
            abs(out.mean().item() - narrow) > 0.1,
            f"the mean of the log weights should be the ELBO, {elbo:.1f} nats; it is {-off:.1f} nats below.",
            Bug,
        )
        error = 6 * (wanted.std(dim=0).mean() / 4000**0.5).item() + 0.02
        require(
            abs(off) < error,
            f"the mean of the log weights should be the ELBO, {elbo:.2f} nats; it is {out.mean().item():.2f}.",
        )
        require(
            (out.std(dim=0) / wanted.std(dim=0) - 1).abs().max() < 0.1,
            "the log weights have the right mean and the wrong spread: does each draw count with its own z?",
        )
        require(
            torch.allclose(out.mean(dim=1).std(), wanted.mean(dim=1).std(), rtol=0.2),
            "the images of a batch share their draws.",
        )


def _narrow(model, x):
    """What the mean is if q's variance is taken for its standard deviation."""
    mu, logvar = model.encode(x)
    z = reparameterize(mu.repeat(4000, 1), 2 * logvar.repeat(4000, 1))
    reconstruction = binary_cross_entropy(model.decode_logits(z), x.repeat(4000, 1, 1, 1)).mean()
    return -(reconstruction + gaussian_kl(mu, 2 * logvar).mean()).item()


class ConditionalVAE(DenseVAE):
    """A dense VAE that is told the label: encoder and decoder get it as ten more numbers, one of which is 1.

    Source: Kingma et al., "Semi-supervised learning with deep generative models", 2014 (model M2).
    """

    def __init__(self, latent_dim=20, hidden=400, classes=10):
        super().__init__(latent_dim, hidden)
        self.classes = classes
        self.hidden = nn.Linear(784 + classes, hidden)
        self.decoder = nn.Sequential(nn.Linear(latent_dim + classes, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def encode(self, x, y):
        """(batch, 1, 28, 28) and labels (batch,) → mu and logvar, each (batch, latent)."""
        h = torch.cat([x.flatten(start_dim=1), nn.functional.one_hot(y, self.classes)], dim=1)
        h = self.hidden(h).relu()
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z, y):
        """(batch, latent) and labels (batch,) → logits (batch, 1, 28, 28)."""
        h = torch.cat([z, nn.functional.one_hot(y, self.classes)], dim=1)
        return self.decoder(h).view(-1, 1, 28, 28)

    def elbo(self, x, y):
        """reconstruction and kl of each image, each (batch,), in nats."""
        mu, logvar = self.encode(x, y)
        logits = self.decode_logits(reparameterize(mu, logvar), y)
        return binary_cross_entropy(logits, x), gaussian_kl(mu, logvar)

    def decode(self, z, y):
        """(batch, latent) and labels (batch,) → (batch, 1, 28, 28) in [0, 1]."""
        return self.decode_logits(z, y).sigmoid()


@check(
    "5b.6",
    ConditionalVAE,
    hints=(
        "nn.functional.one_hot(y, self.classes) makes ten numbers of a label.",
        "torch.cat([…, …], dim=1) puts them behind the pixels, or behind the code.",
        "After that encode, decode_logits and elbo are those of DenseVAE, with y handed through.",
    ),
)
def _conditional_vae(answer):
    torch.manual_seed(0)
    model = answer(latent_dim=4, hidden=16)
    x, y, z = torch.rand(3, 1, 28, 28), torch.tensor([0, 9, 4]), torch.randn(3, 4)
    for batch in (1, 3):
        encoded = model.encode(x[:batch], y[:batch])
        require(isinstance(encoded, (tuple, list)) and len(encoded) == 2, "encode should return mu, logvar.")
        for name, value in zip(("mu", "logvar"), encoded):
            require_tensor(value, (batch, 4), f"{name} of {batch} images")
        require_tensor(model.decode_logits(z[:batch], y[:batch]), (batch, 1, 28, 28), f"logits of {batch} codes")
        terms = model.elbo(x[:batch], y[:batch])
        require(isinstance(terms, (tuple, list)) and len(terms) == 2, "elbo should return reconstruction, kl.")
        for name, value in zip(("reconstruction", "kl"), terms):
            require_tensor(value, (batch,), f"{name} of {batch} images")
    other = torch.tensor([1, 2, 3])
    require(not close(model.encode(x, y)[0], model.encode(x, other)[0]), "the encoder does not see the label.")
    require(not close(model.decode_logits(z, y), model.decode_logits(z, other)), "the decoder does not see the label.")
    with torch.no_grad():
        codes = model.decode_logits(torch.zeros(10, 4), torch.arange(10)).flatten(1)
        steps = (codes[1:] - codes[:-1]).flatten()
        second = (codes[2:] - 2 * codes[1:-1] + codes[:-2]).abs().max()
        require(
            second > 1e-3 * steps.abs().max(),
            "the label seems to enter as one number, as if 8 were twice 4. Give each digit a number of its own.",
        )
        model.logvar.weight.zero_(), model.logvar.bias.fill_(-60)  # σ is 0: the code is mu
        reconstruction, kl = model.elbo(x, y)
        mu, logvar = model.encode(x, y)
        require(
            close(reconstruction, binary_cross_entropy(model.decode_logits(mu, y), x)),
            "with σ = 0 reconstruction is not the cross-entropy of the decoded mean. Does the decoder get logits' labels?",
        )
        require(close(kl, gaussian_kl(mu, logvar)), "kl is not that of mu and logvar.")
        model.logvar.bias.zero_()
        require(not torch.equal(model.elbo(x, y)[0], model.elbo(x, y)[0]), "the code is not drawn.")
    model = answer(latent_dim=4, hidden=16)
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(model.elbo(x, y)[0].sum(), parameters, allow_unused=True)
    missed = [name for name, gradient in zip(names, gradients) if gradient is None or not gradient.any()]
    require(not missed, f"no gradient of the reconstruction reaches {', '.join(missed)}: is the code detached?")
    require(set(model.loss(x, y)) >= {"loss", "reconstruction", "kl"}, "loss(x, y) should be inherited as it is.")
    drawn = model.decode(z, y)
    require_tensor(drawn, (3, 1, 28, 28), "decode(z, y)")
    require(close(drawn, model.decode_logits(z, y).sigmoid()), "decode should be the sigmoid of decode_logits.")
