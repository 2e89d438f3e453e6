"""Checks of lesson 6."""

import torch
from torch import nn

from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_tensor
from aecourse.models import VariationalAutoencoder


def beta_elbo(model, x, beta):
    """reconstruction + beta · kl, in nats per image, averaged over the batch.

    model.elbo(x) gives both terms of each image. Returns {"loss": …, "reconstruction": …, "kl": …}, scalars.
    Source: Higgins et al., "beta-VAE", 2017.
    """
    reconstruction, kl = (term.mean() for term in model.elbo(x))
    return {"loss": reconstruction + beta * kl, "reconstruction": reconstruction, "kl": kl}


class _Stub(VariationalAutoencoder):
    """One parameter for each term, which differ from image to image."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(100.0)), nn.Parameter(torch.tensor(5.0))

    def elbo(self, x):
        images = torch.arange(1.0, len(x) + 1)
        return self.a * images, self.b * images.square()


@check(
    "6.1",
    beta_elbo,
    hints=(
        "At beta = 4 the model pays more for its code than before, or less? Follow beta through the loss.",
        "beta should multiply what a code costs, and nothing else.",
    ),
)
def _beta_elbo(answer):
    x = torch.rand(3, 1, 28, 28)
    model = _Stub()
    reconstruction, kl = (term.mean() for term in model.elbo(x))
    for beta in (4.0, 1.0, 0.5):
        out = answer(model, x, beta)
        require(
            isinstance(out, dict) and {"loss", "reconstruction", "kl"} <= set(out),
            'it should return a dictionary with "loss", "reconstruction" and "kl".',
        )
        for name in ("loss", "reconstruction", "kl"):
            require_tensor(out[name], (), f"its entry {name!r}")
        require(
            beta == 1 or not close(out["loss"], beta * reconstruction + kl),
            f"at beta = {beta:g} a nat of reconstruction costs {beta:g} and a nat of code 1.",
            Bug,
        )
        for name, wanted in (("reconstruction", reconstruction), ("kl", kl)):
            require(
                close(out[name], wanted),
                f"{name} is {out[name].item():.1f} where the batch mean is {wanted.item():.1f} nats. "
                f"Report both terms unweighted.",
            )
        require(
            close(out["loss"], reconstruction + beta * kl),
            f"at beta = {beta:g}, reconstruction {reconstruction.item():.1f} and kl {kl.item():.1f}, the loss is "
            f"{out['loss'].item():.1f} nats.",
        )
    gradients = torch.autograd.grad(answer(model, x, 2.0)["loss"], model.parameters(), allow_unused=True)
    require(all(g is not None for g in gradients), "the gradient of one term is lost: is there an item() or a detach?")


def effective_beta(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    """The beta, per nat, of a loss reconstruction + weight · kl whose terms are sums or means.

    weight: the number in front of the KL. pixels, latent_dim: how many numbers an image and a code have.
    reconstruction: "sum" or "mean" over the pixels. kl: "sum" or "mean" over the numbers of the code.
    Returns the beta for which reconstruction + beta · kl, both as sums, is the same loss up to a factor.
    """
    if reconstruction == "mean":
        weight = weight * pixels
    if kl == "mean":
        weight = weight / latent_dim
    return weight


@check(
    "6.2",
    effective_beta,
    hints=(
        "A loss may be multiplied by any number without changing where it is least. Make reconstruction a sum first.",
        "A mean over 784 pixels is the sum over 784. Multiply the whole loss by 784: what becomes of the weight?",
        "A mean over 20 numbers is the sum over 20, so the weight counts for a twentieth.",
    ),
)
def _effective_beta(answer):
    cases = (
        (("sum", "sum"), 4.0, "sum and sum"),
        (("mean", "sum"), 4.0 * 784, "a mean over 784 pixels and a summed KL"),
        (("sum", "mean"), 4.0 / 20, "a summed reconstruction and a mean over 20 numbers"),
        (("mean", "mean"), 4.0 * 784 / 20, "means over 784 pixels and over 20 numbers"),
    )
    for (reconstruction, kl), wanted, what in cases:
        value = call(answer, 4.0, 784, 20, reconstruction, kl)
        require(value is not None, "it returns None. Is there a return in every case?")
        value = float(value)
        require(
            not (wanted != 4 and close(value * wanted, 16.0)),
            f"with weight 4, {what}: beta is {value:.4g}, the wrong way round. Which term became lighter?",
        )
        require(
            not (wanted != 4 and close(value, 4.0)), f"with weight 4, {what}: beta is still 4, as if both were sums."
        )
        require(close(value, wanted), f"with weight 4, {what}: beta is {value:.4g}; {wanted:.4g} is wanted.")
    value = float(call(answer, 0.5, 12288, 128, "mean", "sum"))
    require(close(value, 6144.0), f"with weight 0.5, 12,288 pixels, mean and sum: beta is {value:.4g}.")
    require(close(float(call(answer, 3.0, 784, 20)), 3.0), "called without reductions, both should be sums.")


def rise_of_the_loss():
    """At beta = 1 the KL is 25 nats. From beta = 1 to 2, by how much does the least possible loss rise?

    "more": by more than 25 nats. "exactly": by 25 nats, to the nat. "less": by less than 24 nats.
    """
    return "less"


@check(
    "6.3",
    rise_of_the_loss,
    prediction=True,
    hints=(
        "A model that does not change at all pays 25 nats more. Can it do better?",
        "When a price rises, one buys less.",
    ),
)
def _rise_of_the_loss(answer):
    choice = require_choice(answer, "more", "exactly", "less")
    require(choice != "more", "more than 25 cannot be: a model that stays as it is pays 25 nats more.")
    require(choice != "exactly", "a model that stays as it is pays 25 nats more; but it may change.")


def code_entropy(q):
    """Nats per image for a quantised code, each of its numbers coded by itself.

    q: (n, latent), whole numbers. Returns a float: the sum over the columns of the entropy of their values.
    """
    total = 0.0
    for column in q.T:
        share = column.unique(return_counts=True)[1] / len(q)
        total -= (share * share.log()).sum().item()
    return total


@check(
    "6.4",
    code_entropy,
    hints=(
        "For one column: which values occur, and in what share p of the images? The entropy is -Σ p log p.",
        "column.unique(return_counts=True) gives the values and how often each occurs.",
        "Add up the entropies of all columns. Natural logarithms give nats.",
    ),
)
def _code_entropy(answer):
    four = torch.tensor([[0.0], [1.0], [-2.0], [7.0]])
    value = call(answer, four)
    require(value is not None, "it returns None. Is there a return?")
    value = float(value)
    nats = torch.tensor(4.0).log().item()
    require(not close(value, 2.0), "four equally frequent values have 2 bits; nats are wanted.")
    require(not close(value, -nats), "the sign is wrong: an entropy is never negative.")
    require(close(value, nats), f"four equally frequent values have log 4 = {nats:.3f} nats; yours is {value:.3f}.")
    skewed = torch.tensor([[3.0], [3.0], [3.0], [-1.0]])
    value, wanted = float(call(answer, skewed)), code_entropy(skewed)
    require(
        close(value, wanted),
        f"values 3, 3, 3, -1 have {wanted:.3f} nats; yours is {value:.3f}. Does each value count by its share?",
    )
    twice = torch.cat([four, four], dim=1)
    value = float(call(answer, twice))
    require(
        not close(value, nats), "two columns have the entropy of one: each number is coded by itself, so they add up."
    )
    require(close(value, 2 * nats), f"two columns of log 4 nats each have {2 * nats:.3f}; yours is {value:.3f}.")
    many = torch.randn(500, 6).mul(3).round()
    value, wanted = float(call(answer, many)), code_entropy(many)
    require(close(value, wanted), f"500 codes of six numbers have {wanted:.3f} nats; yours is {value:.3f}.")
    value = float(call(answer, torch.zeros(5, 3)))
    require(close(value, 0.0), f"a code that is always the same has 0 nats; yours is {value:.3g}.")


def traverse(z, number, values):
    """A code with one of its numbers set to each of the values in turn.

    z: (latent,). number: which one. values: (steps,). Returns (steps, latent); z itself stays as it is.
    """
    codes = z.repeat(len(values), 1)
    codes[:, number] = values
    return codes


@check(
    "6.5",
    traverse,
    hints=(
        "As many copies of z as there are values, one under the other; then one column is overwritten.",
        "z.repeat(steps, 1) copies; expand would not, and writing to it fails or writes everywhere.",
    ),
)
def _traverse(answer):
    z, values = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.tensor([-3.0, 0.0, 3.0])
    for number in range(4):
        out = call(answer, z, number, values)
        require_tensor(out, (3, 4), "the traversal of a code of 4 numbers in 3 steps")
        kept = [i for i in range(4) if i != number]
        require(not close(out[:, number], z[number] + values), "the values are added; the number should be set to them.")
        require(
            close(out[:, number], values),
            f"number {number} runs through {', '.join(f'{v:g}' for v in out[:, number].tolist())} instead of -3, 0, 3.",
        )
        require(close(out[:, kept], z[kept].expand(3, 3)), "numbers that should stay as they are in z change.")
    require_tensor(call(answer, z, 0, torch.tensor([1.0])), (1, 4), "a traversal in a single step")
