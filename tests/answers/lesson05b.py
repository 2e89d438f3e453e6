"""Answers to the exercises of lesson 5, part 2."""

import math

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F

from aecourse import losses, metrics, models
from aecourse.exercises.lesson05b import elbo_of, even, importance, line, nats_of, weights_with
from aecourse.losses import bernoulli_nll
from tests.answers import not_asked, right, wrong

# 5b.1 interpolate

right("5b.1")(lambda a, b, steps=10: torch.stack([(1 - t) * a + t * b for t in even(steps)]))
right("5b.1")(lambda a, b, steps=10: torch.stack([x + even(steps)[:, None] * (y - x) for x, y in zip(a, b)], dim=1))


@right("5b.1")
def by_steps(z_start, z_end, steps=10):
    points, step = [z_start], (z_end - z_start) / (steps - 1)
    while len(points) < steps:
        points.append(points[-1] + step)
    return torch.stack(points)


wrong("5b.1")(line(lambda n: even(min(n, 10))))
wrong("5b.1")(lambda a, b, steps=10: line(even)(a, b, steps) * (b - a) / (b - a))

# 5b.3 loss_in_nats

# It samples, and training takes only the gradient of the loss.
not_asked("5b.3", "loss moves the random state", "loss detached (1)", "loss detached (2)")

right("5b.3")(nats_of(lambda logits, x, r, kl: (784 * F.binary_cross_entropy_with_logits(logits, x), kl)))
right("5b.3")(nats_of(lambda logits, x, r, kl: (r, kl), lambda mu, logvar: Normal(mu, (logvar / 2).exp()).rsample()))
right("5b.3")(nats_of(lambda logits, x, r, kl: (r.detach(), kl.detach(), r + kl)))
wrong("5b.3")(nats_of(lambda logits, x, r, kl: (bernoulli_nll(logits.clamp(-20, 20), x).mean(), kl)))
wrong("5b.3")(lambda model, x: model.loss(x))

# 5b.4 importance_bound

right("5b.4")(lambda log_w: (log_w - torch.tensor(float(len(log_w))).log()).logsumexp(0))
right("5b.4")(lambda log_w: log_w.amax(dim=0) + (log_w - log_w.amax(dim=0)).exp().mean(dim=0).log())


@right("5b.4")
def one_after_the_other(log_w):
    total = log_w[0]
    for more in log_w[1:]:
        total = torch.logaddexp(total, more)
    return total - math.log(len(log_w))


wrong("5b.4")(lambda log_w: (log_w - log_w[0]).exp().mean(dim=0).log() + log_w[0])
wrong("5b.4")(lambda log_w: log_w if len(log_w) == 1 else metrics.importance_bound(log_w))

# 5b.5 log_weights

not_asked("5b.5", "log_weights moves the random state")  # it samples


@right("5b.5")
def sample_after_sample(model, x, k):
    mu, logvar = model.encode(x)
    rows = []
    for _ in range(k):
        z = models.reparameterize(mu, logvar)
        log_q = -0.5 * ((z - mu) ** 2 / logvar.exp() + logvar).sum(1)
        rows.append(-bernoulli_nll(model.decode_logits(z), x) - 0.5 * (z**2).sum(1) - log_q)
    return torch.stack(rows)


@right("5b.5")
def image_after_image(model, x, k):
    columns = []
    for image in x:
        mu, logvar = model.encode(image[None])
        q = Normal(mu, logvar.exp() ** 0.5)
        z = q.rsample((k,))[:, 0]
        logits = model.decode_logits(z).view(k, 784)
        log_x = -F.binary_cross_entropy_with_logits(logits, image.view(1, 784).expand(k, -1), reduction="none").sum(1)
        columns.append(log_x + (Normal(0, 1).log_prob(z) - q.log_prob(z)).sum(1))
    return torch.stack(columns, dim=1)


@right("5b.5")
def repeats_first(model, x, k):
    x = x.repeat_interleave(k, dim=0)
    mu, logvar = model.encode(x)
    q = Normal(mu, torch.exp(logvar / 2))
    z = q.sample()
    log_x = -bernoulli_nll(model.decode_logits(z), x)
    return (log_x + Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z).sum(1)).view(-1, k).T


@wrong("5b.5")
def noise_shared_by_the_images(model, x, k):
    mu, logvar = model.encode(x)
    z = mu + (0.5 * logvar).exp() * torch.randn(k, 1, mu.shape[1], device=mu.device)
    return weights_with(model, x, k, importance, z)


wrong("5b.5")(lambda model, x, k: metrics.log_weights(model, x, k).squeeze())

# 5b.6 ConditionalVAE

scaled = [f"decode_logits one per cent too large ({i})" for i in range(4)]  # no weights are given: another network
scaled += [f"encode one per cent too large ({i})" for i in range(2)]
not_asked("5b.6", "elbo moves the random state", *scaled)  # it samples

right("5b.6")(elbo_of(lambda reconstruction, kl: [reconstruction, kl], lambda m, v: Normal(m, (v / 2).exp()).rsample()))


@right("5b.6")
class WithEmbeddings(models.ConditionalVAE):
    """Learned embeddings of the labels come first; one image after another."""

    def __init__(self, latent_dim=20, hidden_dim=400, num_classes=10):
        super().__init__(latent_dim, hidden_dim)
        self.label = nn.Embedding(num_classes, 10)

    def encode(self, x, y):
        h = self.encoder(torch.cat((self.label(y), x.view(-1, 784)), -1))
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z, y):
        return self.decoder(torch.cat((self.label(y), z), -1)).view(-1, 1, 28, 28)

    def elbo(self, x, y):
        terms = [super(WithEmbeddings, self).elbo(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return tuple(torch.cat(term) for term in zip(*terms))


@right("5b.6")
class WithItsOwnLayers(models.ConditionalVAE):
    """mu and logvar as halves of one layer; the decoder adds the label in its hidden layer; given layers unused."""

    def __init__(self, latent_dim=20, hidden_dim=400, num_classes=10):
        super().__init__(latent_dim, hidden_dim)
        self.encoder = nn.Sequential(
            nn.Linear(784 + num_classes, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 2 * latent_dim)
        )
        self.from_z, self.from_label = nn.Linear(latent_dim, hidden_dim), nn.Linear(num_classes, hidden_dim)
        self.pixels = nn.Linear(hidden_dim, 784)

    def encode(self, x, y):
        return self.encoder(torch.cat([F.one_hot(y, 10), x.flatten(1)], dim=1)).chunk(2, dim=1)

    def decode_logits(self, z, y):
        return self.pixels((self.from_z(z) + self.from_label(F.one_hot(y, 10).float())).relu()).view(-1, 1, 28, 28)

    def elbo(self, x, y):
        z, kl = models.reparameterize(*self.encode(x, y)), losses.gaussian_kl(*self.encode(x, y))
        return bernoulli_nll(self.decode_logits(z, y), x), kl


@wrong("5b.6")
class OneHead(models.ConditionalVAE):
    def encode(self, x, y):
        return (super().encode(x, y)[0],) * 2


@wrong("5b.6")
class DetachedHidden(models.ConditionalVAE):
    def encode(self, x, y):
        h = self.encoder(torch.cat([x.flatten(1), F.one_hot(y, 10)], dim=1)).detach()
        return self.mu(h), self.logvar(h)


# Right on easy inputs only


@wrong("5b.5")
def a_seed_of_its_own(model, x, k):
    torch.manual_seed(0)
    return metrics.log_weights(model, x, k)


@wrong("5b.6")
class LabelsOnTheCPU(models.ConditionalVAE):
    def encode(self, x, y):
        h = self.encoder(torch.cat([x.flatten(1), torch.eye(self.num_classes)[y]], dim=1))
        return self.mu(h), self.logvar(h)
