"""Answers to the exercises of lesson 6, part 1."""

import collections
import math

import numpy as np
import scipy.stats
import torch
from torch.distributions import Categorical

from aecourse import latent, losses, metrics
from aecourse.models import VariationalAutoencoder
from tests.answers import not_asked, right, wrong

# 6.1 beta_elbo

# training takes only the gradient of the loss; elbo samples, which moves the random state
not_asked("6.1", "loss detached (1)", "loss detached (2)", "loss moves the random state")


@right("6.1")
def image_by_image(model, x):
    r, kl = (sum(term).squeeze() / len(x) for term in zip(*(model.elbo(image[None]) for image in x)))
    return dict(kl=kl, reconstruction=r, loss=r + model.beta * kl)


@right("6.1")
def mean_of_the_losses(model, x):
    r, kl = model.elbo(x)
    return {"loss": (r + model.beta * kl).mean(), "reconstruction": r.detach().mean(), "kl": kl.detach().mean()}


@right("6.1")
def with_two_samples(model, x):
    r, kl = model.elbo(x)[0].mean(), model.elbo(x)[1].mean()
    return {"loss": torch.add(r, kl, alpha=model.beta), "reconstruction": r, "kl": kl}


for change in (
    lambda out, model, x: {"loss": out["reconstruction"] + max(model.beta, 1) * out["kl"]},
    lambda out, model, x: {"loss": out["reconstruction"] + (model.beta or 1) * out["kl"]},
    lambda out, model, x: {"loss": out["reconstruction"] + math.ceil(model.beta) * out["kl"]},
    lambda out, model, x: {"loss": out["reconstruction"] + (model.beta if model.training else 1) * out["kl"]},
    lambda out, model, x: {"loss": len(x) * out["loss"]},
    lambda out, model, x: {"loss": out["loss"].detach()},
    lambda out, model, x: {"reconstruction": model.beta * out["reconstruction"]},
    lambda out, model, x: {"reconstruction": -out["reconstruction"]},
    lambda out, model, x: {"kl": out["kl"].item()},
    lambda out, model, x: {"beta": model.beta},
    lambda out, model, x: model.loss(x),
    lambda out, model, x: out["loss"].requires_grad and out["loss"].backward() or {},
    lambda out, model, x: VariationalAutoencoder.loss(model, x[:1]),
    lambda out, model, x: VariationalAutoencoder.loss(model.eval(), x),
    lambda out, model, x: [VariationalAutoencoder.loss(model.eval(), x), model.train()][0],
):

    @wrong("6.1")
    def changed(model, x, change=change):
        out = VariationalAutoencoder.loss(model, x)
        return out | change(out, model, x)


wrong("6.1", "without_beta")(lambda model, x: VariationalAutoencoder.loss(type(model)((1e-9,) * 3).to(x.device), x))

# 6.2 effective_beta


right("6.2")(lambda *case: torch.tensor(losses.effective_beta(*case)))
right("6.2")(lambda w, p, n, r="sum", k="sum": (w / n if k == "mean" else w) / (1 / p if r == "mean" else 1))
right("6.2")(lambda *case: np.float32(losses.effective_beta(*case)))

for of_two_means in (
    lambda w, p, n: w,
    lambda w, p, n: w * n / p,
    lambda w, p, n: w * (p // n),
    lambda w, p, n: int(w) * p / n,
    lambda w, p, n: w * 784 / 20,
    lambda w, p, n: torch.tensor([w * p / n]),
    lambda w, p, n: f"{w * p / n:g}",
):

    @wrong("6.2")
    def unless_two_means(weight, pixels, latent_dim, *reductions, value=of_two_means):
        right = losses.effective_beta(weight, pixels, latent_dim, *reductions)
        return value(weight, pixels, latent_dim) if reductions == ("mean", "mean") else right


wrong("6.2")(lambda weight, *others: weight * losses.effective_beta(weight, *others))
wrong("6.2")(lambda w, p, n, r="mean", k="sum": losses.effective_beta(w, p, n, r, k))

# 6.3 by how much does the loss rise?

right("6.3")(lambda: "Less ")
wrong("6.3")(lambda: "25")
wrong("6.3")(lambda: 20)

# 6.4 code_entropy

right("6.4")(lambda q: sum(scipy.stats.entropy(np.unique(column, return_counts=True)[1]) for column in q.numpy().T))
right("6.4")(lambda q: sum(Categorical(column.unique(return_counts=True)[1].float()).entropy() for column in q.T))


@right("6.4")
def with_counter(q):
    counters = [collections.Counter(column) for column in q.T.tolist()]
    return -sum(n / len(q) * math.log(n / len(q)) for counter in counters for n in counter.values())


wrong("6.4")(lambda q: q.shape[1] * metrics.code_entropy(q.reshape(-1, 1)))
wrong("6.4")(lambda q: metrics.code_entropy(q.unique(dim=1)))

# 6.5 traverse


@right("6.5")
def with_one_hot(z, dim, values):
    mask = torch.nn.functional.one_hot(torch.tensor(dim), len(z))
    return z * (1 - mask) + values[:, None] * mask


right("6.5")(lambda z, i, values: torch.tensor([[*z[:i], value, *z[i + 1 :]] for value in values]))
right("6.5")(lambda z, i, values: torch.where(torch.arange(len(z)) == i, values.view(-1, 1), z))


wrong("6.5")(lambda z, i, values: torch.where(torch.arange(len(z)) >= i, values[:, None], z))
wrong("6.5")(lambda z, i, values: latent.traverse(z, i, values.flip(0)))


# Right on easy inputs only


@wrong("6.5")
def every_dimension_of_this_value(z, dim, values):
    return torch.where(z == z[dim], values[:, None], z)
