"""Answers to the exercises of lesson 5, part 1."""

import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal, Normal

from aecourse.losses import bernoulli_nll, gaussian_kl
from aecourse.models import Autoencoder, VariationalAutoencoder, reparameterize
from tests.answers import not_asked, right, wrong

# 5.1 reparameterize

not_asked("5.1", "reparameterize moves the random state")  # it samples

right("5.1")(lambda mu, logvar: Normal(mu, logvar.exp().sqrt()).rsample())
right("5.1")(lambda mu, logvar: MultivariateNormal(mu, torch.diag_embed(logvar.exp())).rsample())
right("5.1")(lambda mu, logvar: mu + (0.5 * logvar.clamp(-30, 20)).exp() * torch.randn(mu.size(), device=mu.device))


wrong("5.1", "variance_as_sigma")(lambda mu, logvar: Normal(mu, logvar.exp()).rsample())
wrong("5.1", "torch_normal")(lambda mu, logvar: Normal(mu, logvar.mul(0.5).exp()).sample() + 0 * (mu + logvar))


# 5.2 gaussian_kl

right("5.2")(lambda mu, logvar: -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1))
right("5.2")(lambda mu, logvar: (mu**2 / 2 + (0.5 * logvar).exp() ** 2 / 2 - (0.5 * logvar).exp().log() - 0.5).sum(1))
right("5.2")(lambda mu, logvar: 0.5 * (torch.einsum("bd,bd->b", mu, mu) + (logvar.expm1() - logvar).sum(dim=1)))


wrong("5.2")(lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar).sum(dim=1))
wrong("5.2")(lambda mu, logvar: 0.5 * (mu.square() + logvar.square() - 1 - logvar).sum(dim=1))

# 5.3 VariationalAutoencoder

not_asked("5.3", "elbo moves the random state", "loss moves the random state", "loss detached (1)", "loss detached (2)")


def with_elbo(elbo):
    """The class of the notebook's cell, with this elbo."""

    def __init__(self, beta=1.0):
        Autoencoder.__init__(self)
        self.beta = beta

    methods = {**vars(VariationalAutoencoder), "elbo": elbo, "__init__": __init__}
    return type("VariationalAutoencoder", (Autoencoder,), methods)


def elbo_at(self, x, z, error=bernoulli_nll):
    return error(self.decode_logits(z), x), gaussian_kl(*self.encode(x))


@wrong("5.3")
@with_elbo
def from_probabilities(self, x):
    mu, logvar = self.encode(x)
    x_hat = self.decode(reparameterize(mu, logvar))  # PyTorch's loss keeps the logarithms above -100
    return F.binary_cross_entropy(x_hat, x, reduction="none").sum(dim=(1, 2, 3)), gaussian_kl(mu, logvar)


@right("5.3")
@with_elbo
def image_after_image(self, x):
    mu, logvar = self.encode(x)
    logits = torch.cat([self.decode_logits(reparameterize(m[None], v[None])) for m, v in zip(mu, logvar)])
    return bernoulli_nll(logits, x), gaussian_kl(mu, logvar)


@right("5.3")
@with_elbo
def average_of_two_samples(self, x):
    terms = [elbo_at(self, x, reparameterize(*self.encode(x))) for _ in range(2)]
    return sum(reconstruction for reconstruction, _ in terms) / 2, terms[0][1]


def by_the_formula(log):
    """An elbo that takes logarithms of probabilities in this way."""

    def cross_entropy(logits, x):
        p = logits.sigmoid()
        return -(x * log(p) + (1 - x) * log(1 - p)).flatten(1).sum(1)

    return with_elbo(lambda self, x: elbo_at(self, x, reparameterize(*self.encode(x)), cross_entropy))


RIGHT_ELBO = VariationalAutoencoder.elbo
wrong("5.3", "logarithms_of_probabilities")(by_the_formula(torch.log))
wrong("5.3")(by_the_formula(lambda p: (p + 1e-8).log()))

# 5.4 vae_loss

not_asked("5.4", "loss moves the random state", "loss detached (1)", "loss detached (2)")  # only "loss" is trained


def loss_with(kl_of, reconstruction_of=torch.mean):
    """A loss with these reductions of the KL of each image and dimension, and of each image's reconstruction."""

    def vae_loss(model, x):
        mu, logvar = model.encode(x)
        parts = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
        reconstruction, kl = reconstruction_of(RIGHT_ELBO(model, x)[0]), kl_of(parts)
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    return vae_loss


right("5.4")(loss_with(lambda parts: parts.sum(dim=1).mean()))
right("5.4")(loss_with(lambda parts: parts.mean(dim=0).sum()))
right("5.4")(loss_with(lambda parts: parts.sum() / len(parts)))
wrong("5.4")(lambda model, x: VariationalAutoencoder.loss(model, x) | {"beta": 1.0})  # fit wants tensors only


wrong("5.4", "the_bug_itself")(loss_with(lambda parts: parts.sum(dim=0).mean()))

# 5.5 elbo_estimate

not_asked("5.5", "elbo_estimate moves the random state")  # it samples


def estimate_at(z_of):
    """An estimate at the latent code that this function returns for mu and logvar."""
    return lambda model, x: -sum(elbo_at(model, x, z_of(*model.encode(x))))


right("5.5")(estimate_at(lambda mu, logvar: Normal(mu, logvar.exp().sqrt()).rsample()))
right("5.5")(lambda model, x: -sum(model.elbo(x)).detach())
right("5.5")(lambda model, x: torch.stack([-sum(model.elbo(x)) for _ in range(10)]).mean(dim=0))


wrong("5.5")(estimate_at(lambda mu, logvar: mu + (0.5 * logvar).exp()))
wrong("5.5")(estimate_at(lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.randn(len(mu), 1, device=mu.device)))

# 5.6 prediction

right("5.6")(lambda: " Alike")
wrong("5.6")(lambda: "dense")
wrong("5.6")(lambda: ("vae", "autoencoder"))


# Right on easy inputs only


@wrong("5.1")
def noise_on_the_cpu(mu, logvar):
    return mu + (logvar / 2).exp() * torch.randn(mu.shape)


@wrong("5.5")
def weighted_by_beta(model, x):
    reconstruction, kl = model.elbo(x)
    return -reconstruction - model.beta * kl
