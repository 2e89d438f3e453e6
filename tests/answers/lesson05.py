"""Answers to the exercises of lesson 5, part 1."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from aecourse import losses, models
from aecourse.losses import binary_cross_entropy, gaussian_kl
from aecourse.models import VariationalAutoencoder, reparameterize
from tests.answers import not_asked, right, wrong

# 5.1 reparameterize

not_asked("5.1", "reparameterize moves the random state")  # it samples

right("5.1")(lambda mu, logvar: Normal(mu, logvar.exp().sqrt()).rsample())
right("5.1")(lambda mu, logvar: MultivariateNormal(mu, torch.diag_embed(logvar.exp())).rsample())
right("5.1")(lambda mu, logvar: mu + (0.5 * logvar.clamp(-30, 20)).exp() * torch.randn(mu.size(), device=mu.device))


right("5.1")(lambda mu, logvar: torch.randn_like(logvar).mul(torch.exp(0.5 * logvar)).add_(mu))
right("5.1")(
    lambda mu, logvar: torch.addcmul(mu, logvar.exp() ** 0.5, torch.empty_like(mu.detach()).normal_(), value=-1)
)
right("5.1")(lambda mu, logvar: torch.stack([Normal(m, (v / 2).exp()).rsample() for m, v in zip(mu.T, logvar.T)], 1))
wrong("5.1", "variance_as_width")(lambda mu, logvar: Normal(mu, logvar.exp()).rsample())
wrong("5.1", "torch_normal")(lambda mu, logvar: Normal(mu, logvar.mul(0.5).exp()).sample() + 0 * (mu + logvar))
wrong("5.1")(lambda mu, logvar: mu + (-0.5 * logvar).exp() * torch.randn_like(mu))
wrong("5.1")(lambda mu, logvar: mu + 0.5 * logvar.exp() * torch.randn_like(mu))
wrong("5.1")(lambda mu, logvar: mu + (0.5 * logvar).exp())
wrong("5.1")(lambda mu, logvar: torch.randn_like(mu))
wrong("5.1")(lambda mu, logvar: mu * torch.randn_like(mu) + (0.5 * logvar).exp())
wrong("5.1")(lambda mu, logvar: mu + (0.5 * logvar).exp() * (torch.rand_like(mu) - 0.5) * 12**0.5)
wrong("5.1")(lambda mu, logvar: mu + (0.5 * logvar.clamp(-10, 9)).exp() * torch.randn_like(mu))
wrong("5.1")(lambda mu, logvar: mu + logvar.data.mul_(0.5).exp() * torch.randn_like(mu))
wrong("5.1")(lambda mu, logvar: models.reparameterize(mu.detach(), logvar))


@wrong("5.1")
def noise_of_numpy(mu, logvar):
    return mu + (0.5 * logvar).exp() * torch.from_numpy(np.random.default_rng().standard_normal(mu.shape)).to(mu)


# 5.2 gaussian_kl

right("5.2")(lambda mu, logvar: -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1))
right("5.2")(lambda mu, logvar: (mu**2 / 2 + (0.5 * logvar).exp() ** 2 / 2 - (0.5 * logvar).exp().log() - 0.5).sum(1))
right("5.2")(lambda mu, logvar: 0.5 * (torch.einsum("bd,bd->b", mu, mu) + (logvar.expm1() - logvar).sum(dim=1)))
right("5.2")(lambda mu, logvar: torch.stack([0.5 * sum(m**2 + v.exp() - 1 - v) for m, v in zip(mu, logvar)]))


@right("5.2")
def with_distributions(mu, logvar):
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return kl_divergence(Independent(Normal(mu, (0.5 * logvar).exp()), 1), Independent(prior, 1))


@right("5.2")
def with_matrices(mu, logvar):
    prior = MultivariateNormal(torch.zeros_like(mu), torch.diag_embed(torch.ones_like(mu)))
    return kl_divergence(MultivariateNormal(mu, torch.diag_embed(logvar.exp())), prior)


wrong("5.2")(lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar).sum(dim=1))
wrong("5.2")(lambda mu, logvar: 0.5 * (mu.square() + logvar.square() - 1 - logvar).sum(dim=1))
wrong("5.2")(lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - 1 - logvar.log()).sum(dim=1))
wrong("5.2")(lambda mu, logvar: losses.gaussian_kl(mu, 0.5 * logvar))
wrong("5.2")(lambda mu, logvar: losses.gaussian_kl(mu, logvar.clamp(-9, 9)))
wrong("5.2")(lambda mu, logvar: (0.5 * (mu.square() + logvar.exp() - 1 - logvar)).clamp(min=0.1).sum(dim=1))
wrong("5.2")(lambda mu, logvar: -0.5 * (1 + logvar - mu.square() - logvar.exp_()).sum(dim=1))
wrong("5.2")(lambda mu, logvar: losses.gaussian_kl(mu, logvar.detach()))

# 5.3 VariationalAutoencoder

not_asked("5.3", "elbo moves the random state", "loss moves the random state", "loss detached (1)", "loss detached (2)")


def with_elbo(elbo, **methods):
    """The class of the notebook's cell, with this elbo."""
    given = {name: vars(VariationalAutoencoder)[name] for name in ("beta", "loss", "decode", "reconstruct", "forward")}
    return type("VariationalAutoencoder", (nn.Module,), given | {"elbo": elbo} | methods)


def elbo_at(self, x, z, error=binary_cross_entropy):
    return error(self.decode_logits(z), x), gaussian_kl(*self.encode(x))


@right("5.3")
class WithAMethodForTheSample(VariationalAutoencoder):
    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def elbo(self, x):
        return elbo_at(self, x, self.reparameterize(*self.encode(x)))


@right("5.3")
@with_elbo
def flat_images_of_784(self, x):
    mu, logvar = self.encode(x.view(-1, 784))
    logits = self.decode_logits(Normal(mu, (0.5 * logvar).exp()).rsample()).view(-1, 784)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x.view(-1, 784), reduction="none").sum(1)
    return [reconstruction, -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)]


@right("5.3")
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
    return binary_cross_entropy(logits, x), gaussian_kl(mu, logvar)


@right("5.3")
@with_elbo
def average_of_two_samples(self, x):
    terms = [elbo_at(self, x, reparameterize(*self.encode(x))) for _ in range(2)]
    return sum(reconstruction for reconstruction, _ in terms) / 2, terms[0][1]


@wrong("5.3")
@with_elbo
def best_of_two_samples(self, x):
    terms = [elbo_at(self, x, reparameterize(*self.encode(x))) for _ in range(2)]
    return torch.minimum(terms[0][0], terms[1][0]), terms[0][1]


def evaluates_inside(function):
    """The function, run in evaluation mode, which is set back on every part of the model alike."""

    def inside(model, x):
        training = model.training
        result = function(model.eval(), x)
        model.train(training)
        return result

    return inside


def by_the_formula(log):
    """An elbo that takes logarithms of probabilities in this way."""

    def cross_entropy(logits, x):
        p = logits.sigmoid()
        return -(x * log(p) + (1 - x) * log(1 - p)).flatten(1).sum(1)

    return with_elbo(lambda self, x: elbo_at(self, x, reparameterize(*self.encode(x)), cross_entropy))


RIGHT_ELBO = VariationalAutoencoder.elbo
wrong("5.3", "logarithms_of_probabilities")(by_the_formula(torch.log))
wrong("5.3")(by_the_formula(lambda p: (p + 1e-8).log()))
wrong("5.3")(by_the_formula(lambda p: p.log().clamp(min=-100)))
wrong("5.3")(with_elbo(evaluates_inside(RIGHT_ELBO)))
wrong("5.3")(with_elbo(torch.no_grad()(RIGHT_ELBO)))
wrong("5.3")(by_the_formula(lambda p: p.log().nan_to_num()))
wrong("5.3")(with_elbo(lambda self, x: elbo_at(self, x, reparameterize(self.encode(x)[0], 2 * self.encode(x)[1]))))
wrong("5.3")(with_elbo(lambda self, x: elbo_at(self, x, torch.randn_like(self.encode(x)[0]))))
wrong("5.3")(with_elbo(lambda self, x: (binary_cross_entropy(x, x), gaussian_kl(*self.encode(x)))))
wrong("5.3")(with_elbo(lambda self, x: (self.decode(reparameterize(*self.encode(x))), *self.encode(x))))
wrong("5.3")(with_elbo(RIGHT_ELBO, loss=lambda self, x: {name: sum(self.elbo(x)).mean() for name in ("loss", "kl")}))
wrong("5.3")(with_elbo(RIGHT_ELBO, forward=lambda self, x: self.decode(reparameterize(*self.encode(x)))))
wrong("5.3")(type("NoModule", (), {"elbo": RIGHT_ELBO}))

# 5.4 vae_loss

not_asked("5.4", "loss moves the random state", "loss detached (1)", "loss detached (2)")  # only "loss" is trained


def loss_with(kl_of, reconstruction_of=torch.mean):
    """A loss with this made of the KL of each image and dimension, and of each image's reconstruction."""

    def vae_loss(model, x):
        mu, logvar = model.encode(x)
        parts = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
        reconstruction, kl = reconstruction_of(RIGHT_ELBO(model, x)[0]), kl_of(parts)
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    return vae_loss


right("5.4")(loss_with(lambda parts: parts.sum(dim=1).mean()))
right("5.4")(loss_with(lambda parts: parts.mean(dim=0).sum()))
right("5.4")(loss_with(lambda parts: parts.sum() / len(parts)))
right("5.4")(loss_with(lambda parts: parts.mean() * parts.shape[-1]))
wrong("5.4")(lambda model, x: VariationalAutoencoder.loss(model, x) | {"beta": 1.0})  # fit wants tensors only


@right("5.4")
def with_sums_of_784(model, x):
    mu, logvar = model.encode(x.view(-1, 784))
    logits = model.decode_logits(Normal(mu, (0.5 * logvar).exp()).rsample()).view(-1, 784)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x.view(-1, 784), reduction="sum") / x.size(0)
    kl = gaussian_kl(mu, logvar).mean()
    return dict(loss=reconstruction + kl, reconstruction=reconstruction, kl=kl)


wrong("5.4", "the_bug_itself")(loss_with(lambda parts: parts.sum(dim=0).mean()))
wrong("5.4", "mean_of_everything")(loss_with(torch.mean))
wrong("5.4")(loss_with(lambda parts: parts.sum() / 4))
wrong("5.4")(loss_with(lambda parts: parts.mean() * 3))
wrong("5.4")(loss_with(lambda parts: parts.sum(dim=1).mean() / 784))
wrong("5.4")(loss_with(lambda parts: parts.sum(dim=1)))
wrong("5.4")(loss_with(lambda parts: parts.sum(dim=1).mean().detach()))
wrong("5.4")(loss_with(lambda parts: parts.sum(dim=1).mean().item()))
wrong("5.4")(loss_with(lambda parts: parts.sum(dim=1).mean(), lambda each: each.mean() / 784))
wrong("5.4")(evaluates_inside(loss_with(lambda parts: parts.sum(dim=1).mean())))
wrong("5.4")(lambda model, x: sum(model.elbo(x)).mean())
wrong("5.4")(lambda model, x: model.loss(x))

# 5.5 elbo_estimate

not_asked("5.5", "elbo_estimate moves the random state")  # it samples


def estimate_at(code):
    """An estimate at what this function makes of mu and logvar."""
    return lambda model, x: -sum(elbo_at(model, x, code(*model.encode(x))))


right("5.5")(estimate_at(lambda mu, logvar: Normal(mu, logvar.exp().sqrt()).rsample()))
right("5.5")(lambda model, x: -sum(model.elbo(x)).detach())
right("5.5")(lambda model, x: torch.stack([-sum(model.elbo(x)) for _ in range(10)]).mean(dim=0))
right("5.5")(lambda model, x: torch.cat([-sum(model.elbo(image[None])) for image in x]))


@right("5.5")
def five_samples_at_once(model, x):
    mu, logvar = model.encode(x)
    z = Normal(mu, (0.5 * logvar).exp()).sample((5,))
    logits = model.decode_logits(z.flatten(0, 1)).view(5, -1, 784)
    images = x.view(-1, 784).expand(5, -1, -1)
    log_p = -F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(-1).mean(0)
    return log_p - gaussian_kl(mu, logvar)


@right("5.5")
def kl_from_the_sample(model, x):
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.rsample()
    log_p = -binary_cross_entropy(model.decode_logits(z), x) + Normal(0, 1).log_prob(z).sum(dim=1)
    return log_p - q.log_prob(z).sum(dim=1)


wrong("5.5", "the_bug_in_the_estimate")(
    lambda model, x: -binary_cross_entropy(model.decode_logits(model.encode(x)[0]), x) - gaussian_kl(*model.encode(x))
)
wrong("5.5")(estimate_at(lambda mu, logvar: mu + (0.5 * logvar).exp()))
wrong("5.5")(estimate_at(lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.randn(len(mu), 1, device=mu.device)))
wrong("5.5")(estimate_at(lambda mu, logvar: torch.randn_like(mu)))
wrong("5.5")(estimate_at(lambda mu, logvar: mu + torch.randn_like(mu)))
wrong("5.5")(evaluates_inside(estimate_at(reparameterize)))
wrong("5.5")(lambda model, x: -model.elbo(x)[0] / 784 - model.elbo(x)[1])
wrong("5.5")(lambda model, x: torch.stack([-sum(model.elbo(x)) for _ in range(4)]).logsumexp(dim=0) - np.log(4))
wrong("5.5")(
    lambda model, x: (
        -binary_cross_entropy(model.decode(reparameterize(*model.encode(x))), x) - gaussian_kl(*model.encode(x))
    )
)

# 5.6 prediction

right("5.6")(lambda: " Alike")
wrong("5.6")(lambda: "dense")
wrong("5.6")(lambda: ("vae", "autoencoder"))
