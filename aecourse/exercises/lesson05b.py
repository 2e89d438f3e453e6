"""Checks of the second part of lesson 5."""

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.distributions import Normal

from aecourse.exercises.checks import Bug, Wrong, call, check, close, require, require_choice, require_tensor
from aecourse.exercises.lesson05 import (
    _BATCHES,
    _SHARP,
    _WIDTHS,
    _images,
    _listed,
    _reconstruction_mistakes,
    _refuse_mistakes,
    _require_drawn,
    _require_drawn_by,
    _require_gradients_of,
    _require_scalars,
    _require_terms,
    _stub,
)
from aecourse.losses import binary_cross_entropy, gaussian_kl, squared_error
from aecourse.models import DenseVAE, VariationalAutoencoder, reparameterize
from aecourse.training import default_device


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
    a, b = torch.tensor([[[0.0, 10.0], [1.0, 1.0], [5.0, -5.0]], [[4.0, 2.0], [1.0, 3.0], [5.0, 5.0]]])
    out, right = call(answer, a, b, 5), interpolate(a, b, 5)
    require_tensor(out, (5, 3, 2), "of 3 pairs of codes of 2 numbers, in 5 steps, the result")
    scrambled = right.transpose(0, 1).reshape(5, 3, 2)
    mistakes = {
        "it walks from z_end to z_start.": right.flip(0),
        "the points of different pairs are mixed up: view and reshape do not exchange axes.": scrambled,
    }
    _refuse_mistakes(out, mistakes)
    require(out.isfinite().all(), "there are nan or inf among the points: is something divided by 0?")
    for which, point, name, end in (("first", out[0], "z_start", a), ("last", out[-1], "z_end", b)):
        off = (point - end).abs().max().item()
        require(off < 1e-3, f"the {which} point should be {name}; one of its numbers is {off:.3g} off.")
    length = (b - a).norm(dim=1, keepdim=True)
    along = ((out - a) * (b - a) / length).sum(dim=2, keepdim=True)
    away = (out - a - along * (b - a) / length).norm(dim=2).max().item()
    require(away < 1e-3, f"between the ends points are up to {away:.3g} away from the straight line.")
    parts = (out[1:] - out[:-1]).norm(dim=2) / length[:, 0]
    require(
        (parts - 0.25).abs().max() < 1e-3,
        f"four steps should each be 25% of the way; yours are between {parts.min():.0%} and {parts.max():.0%}.",
    )
    require(out.dtype == a.dtype, f"of {a.dtype} it makes codes of {out.dtype}, which no decoder takes.")
    for steps, batch in ((2, 1), (10, 1), (12, 10), (21, 50)):
        a, b = torch.randn(2, batch, 20)
        out, what = (
            call(answer, a, b, steps),
            f"{batch} pair{'s' * (batch > 1)} of codes of 20 numbers in {steps} steps",
        )
        require_tensor(out, (steps, batch, 20), f"the result for {what}")
        off = (out - interpolate(a, b, steps)).abs().max().item()
        require(off < 1e-3, f"it is right for 3 pairs in 5 steps, and up to {off:.3g} off for {what}.")
    require_tensor(call(answer, a, b), (10, 50, 20), "without a number of steps, which is 10 by default, the result")


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
    def run(x, *widths):
        model = _stub(VariationalAutoencoder, *widths, loss=answer)  # as the lesson puts it into a model
        terms = model.to(x.device).loss(x)
        _require_scalars(terms, "loss_in_nats")
        return model, terms

    x = _images()
    run(x.to(default_device()))
    run(x[:1])
    (model, terms), (sharp, sure) = run(x), run(x, _SHARP)
    right, mistakes = _reconstruction_mistakes(sharp, x, sharp.encode(x)[0])
    yours, kl = sure["reconstruction"], gaussian_kl(*model.encode(x)).mean()
    if close(yours * 784, right):
        require(not close(terms["kl"] * 784, kl), "the two terms are in balance now, but both 784 times too small.")
        mended = close(sure["loss"], right + sure["kl"])
        require(not mended, "loss is right, but its entry reconstruction is still 784 times less than nats per image.")
        raise Bug(f"reconstruction is {yours.item():.3f}; here it should be {right.item():.0f} nats per image.")
    squared = squared_error(sharp.reconstruct(x), x).mean()
    mistakes["reconstruction is a squared error now; the cross-entropy was right."] = squared
    _refuse_mistakes(yours, mistakes)
    for name, value, wanted in (("reconstruction", yours, right), ("kl", terms["kl"], kl)):
        require(
            close(value, wanted),
            f"{name} is {value.item():.4g} nats per image instead of {wanted.item():.4g}: {value / wanted:.3g} times. "
            f"Here 4 images have 784 pixels and codes of 3 numbers each.",
        )
    off = (terms["loss"] - terms["reconstruction"] - terms["kl"]).item()
    require(abs(off) < 0.01, f"both terms are right, but loss is {off:+.4g} nats off their sum.")
    tested = _stub(loss=answer).eval()
    _require_drawn_by(tested, tested.loss, "something else has changed: ")
    for name in ("reconstruction", "kl", "loss"):
        _require_gradients_of(name, terms[name], model)


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
    out, right = call(answer, log_w), importance_bound(log_w)
    require_tensor(out, (3,), "the bound of 3 images from 2 draws each")
    largest, total = log_w.amax(dim=0), log_w.logsumexp(dim=0)
    mistakes = {
        "the mean of the logarithms is the ELBO; the logarithm of the mean is wanted.": log_w.mean(dim=0),
        "it is log k too large: that is a sum of weights, not their mean.": total,
        "it adds log k, where a mean asks for the opposite.": total + math.log(2),
        "it takes k for the logarithm of k.": total - 2,
        "it is divided by the number of images, 3, not by that of the draws, 2.": total - math.log(3),
        "that is the largest weight alone; the others count as well.": largest,
        "that is the largest weight alone, divided by k; the others count as well.": largest - math.log(2),
        "that is the mean weight itself; its logarithm is wanted.": right.exp(),
        "the sign is wrong: a bound on log p is wanted, not a loss.": -right,
    }
    _refuse_mistakes(out, mistakes)
    shown = f"log weights of -1 and -3 give {out[0].item():.3f} instead of {right[0].item():.3f}"
    require(close(out, right), f"{shown}. The weights are their exponentials.")
    hard = {
        "near -200, whose exponentials are 0 in single precision,": [[-200.0], [-202.0], [-201.0]],
        "near -1000, whose exponentials are 0 in double precision, too,": [[-1000.0], [-1002.0], [-1001.0]],
        "near 1000, whose exponentials are infinite,": [[1000.0], [1002.0], [1001.0]],
        "of 0 and 1 for one image, -200 and -201 for another,": [[0.0, -200.0], [1.0, -201.0]],
        "of one image that are 1000 apart": [[-1.0], [-1001.0], [-1001.0], [-1001.0]],
    }
    for what, values in hard.items():
        log_w = torch.tensor(values)
        out, right = call(answer, log_w), importance_bound(log_w)
        require_tensor(out, right.shape, f"the bound from log weights {what}")
        shown = f"log weights {what} give {_listed(out, '.5g')}"
        require(out.isfinite().all(), f"{shown}. What is exponentiated, and how large is it?")
        off = (out - right).abs().max()
        require(off < 0.01, f"{shown} instead of {_listed(right, '.5g')}: is something added or clipped?")
    for k, batch in ((1, 1), (1, 3), (3, 1), (1000, 3)):
        log_w = 10 * torch.randn(k, batch) - 100
        out, right = call(answer, log_w), importance_bound(log_w)
        require_tensor(out, (batch,), f"the bound from log weights of the shape {(k, batch)}")
        off = (out - right).abs().max().item()
        require(off < 0.01, f"for log weights of the shape {(k, batch)} it is up to {off:.3g} nats off.")


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
@torch.no_grad()
def _log_weights(answer):
    for batch, images in _BATCHES:
        model, x = _stub().to(default_device()), torch.rand(batch, 1, 28, 28, device=default_device())
        require_tensor(answer(model, x, 5), (5, batch), f"of 5 draws for {images}, the result")
    k, x, model = 1000, _images()[:3], _stub(VariationalAutoencoder, (0.5, 0.3, 0.1))
    model.weight.mul_(0.1)  # likelihoods of hundreds of nats, not thousands: float32 keeps them to 0.001
    out, (mu, logvar) = answer(model, x, k), model.encode(x)
    require(model.codes, "decode_logits is never called.")
    codes, sigma = torch.cat(model.codes), (0.5 * logvar).exp()
    require(len(codes) == 3 * k, f"for {k:,} draws of 3 images each it decodes {len(codes):,} codes.")
    # Draw after draw, or image after image: images of different brightness have different codes.
    orders = codes.view(k, 3, 3), codes.view(3, k, 3).transpose(0, 1)
    z = min(orders, key=lambda z: (z.mean(dim=0) - mu).abs().sum())

    def likelihood(x, logits=lambda z: model.decode_logits(z)):
        return -binary_cross_entropy(logits(z.flatten(0, 1)), x).view(k, 3)

    def near(weights):
        return (out - weights).abs().max() < 0.05

    log_x, log_p = likelihood(x.repeat(k, 1, 1, 1)), Normal(0, 1).log_prob(z).sum(dim=2)
    log_q, log_r = (Normal(mu, std).log_prob(z).sum(dim=2) for std in (sigma, sigma.square()))
    right, elbo = log_x + log_p - log_q, log_weights(model, x, k).mean().item()
    unmended = near(log_x + log_p - log_r) and not torch.allclose(z.std(dim=0), sigma, rtol=0.25)
    below = elbo - out.mean().item()
    require(not unmended, f"their mean should be the ELBO, {elbo:.1f} nats here; it is {below:.1f} nats below.", Bug)
    repeated = close(z, z[:1].expand_as(z)) and not close(z[0], mu)
    require(not repeated, f"all {k:,} draws of an image are the same code; each should be a new one.")
    for i in range(3):
        _require_drawn(z[:, i], mu[i], logvar[i])
    noise = (z - mu) / z.std(dim=0)
    shared = (noise * noise.roll(1, dims=1)).mean(dim=0).abs().max().item()  # 8 standard errors, 1/√k each:
    require(shared < 8 / k**0.5, f"the noise of two images has a correlation of {shared:.2f}: do they share it?")
    if near(right):
        return
    others = likelihood(x.repeat_interleave(k, 0))
    twice = likelihood(x.repeat(k, 1, 1, 1), lambda z: model.decode_logits(z).sigmoid())
    ratio = log_p - log_q
    mistakes = {
        "log p(z) is missing.": log_x - log_q,
        "log q(z | x) is missing: p(x | z) p(z) is to be divided by it.": log_x + log_p,
        "log p(z) and log q(z | x) are missing.": log_x,
        "log q(z | x) has the wrong sign: it is divided by.": log_x + log_p + log_q,
        "log p(z) has the wrong sign.": log_x - log_p - log_q,
        "log p(z) and log q(z | x) have changed places.": log_x - ratio,
        "log p(x | z) has the wrong sign: binary_cross_entropy is minus a logarithm.": ratio - log_x,
        "all signs are wrong: these are losses.": -right,
        "log p(x | z) is 784 times too small: is it a mean over pixels?": log_x / 784 + ratio,
        "log p(z) and log q(z | x) are 3 times too small for codes of 3 numbers.": log_x + ratio / 3,
        "the codes are drawn from one Gaussian, and log q(z | x) is that of another.": log_x + log_p - log_r,
        "the KL in closed form is an average; here each draw counts with its own z.": log_x - gaussian_kl(mu, logvar),
        "the codes meet images that are not theirs. In which order are codes and images?": others + ratio,
        "log p(x | z) goes to images that are not its own. In which order are they?": log_x.reshape(3, k).T + ratio,
        "a sigmoid is applied twice: binary_cross_entropy takes logits.": twice + ratio,
    }
    for message, weights in mistakes.items():
        require(not near(weights), message)
    off = (out - right).abs().mean().item()
    raise Wrong(f"the codes are drawn as they should be, but their log weights are {off:.3g} nats off on average.")


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


def _told(answer, widths):
    """A learner's model whose codes have three numbers of these σ. Keeps the codes that it decodes, and all labels."""

    class Told(answer):
        codes, gaussians, labels = [], [], {"encode": [], "decode_logits": []}

        def encode(self, x, y):
            mu, logvar = super().encode(x, y)
            self.labels["encode"].append(y)
            self.gaussians.append((mu, 0 * logvar + 2 * torch.tensor(widths).log()))
            return self.gaussians[-1]

        def decode_logits(self, z, y):
            self.labels["decode_logits"].append(y)
            self.codes.append(z.detach())
            return super().decode_logits(z, y)

    return Told(latent_dim=3, hidden=16)


def _require_seen(part, results):
    """Refuse a part that does not tell ten labels apart, or that takes them for one number. results: (10, n)."""
    apart = (results[:, None] - results).norm(dim=2)
    require(apart.max() > 1e-6, f"the {part} does not see the label: all ten give the same.")
    same = (apart + torch.eye(10) < 1e-6).nonzero().tolist()
    require(not same, f"to the {part} the labels {' and '.join(map(str, (same or [''])[0]))} are the same.")
    near, far = apart.diagonal(1).mean(), apart.triu(7).sum() / 6
    # One number makes a sixth or less of it, ten numbers 1 ± 0.05, ten learned ones 1 ± 0.15.
    require(
        near > far / 3,
        f"to the {part} labels such as 7 and 8 are {far / near:.0f} times more alike than labels such as 0 and 9. "
        f"Does the label enter as one number?",
    )


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
    require(isinstance(answer, type) and issubclass(answer, nn.Module), "it should be a class, and an nn.Module.")
    device = default_device()
    default = answer().to(device).eval()
    x, y = torch.rand(10, 1, 28, 28, device=device), torch.arange(10, device=device)
    z = torch.randn(10, 20, device=device)
    for name, function, inputs in (("encode", default.encode, x), ("decode_logits", default.decode_logits, z)):
        require(function(inputs, y) is not None, f"{name} returns None. Is there a return?")
        try:
            function(inputs[:1], y[:1])
        except RuntimeError as error:
            raise Wrong(f"{name} takes all ten labels together, but for a 0 alone it stops: {error}.") from error
    for model, latent in ((default, 20), (answer(latent_dim=3, hidden=16).to(device).eval(), 3)):
        for batch, images in _BATCHES:
            encoded = model.encode(x[:batch], y[:batch])
            pair = isinstance(encoded, tuple) and len(encoded) == 2
            require(pair, f"encode should return a tuple, mu and logvar; it returns a {type(encoded).__name__}.")
            for name, value in zip(("mu", "logvar"), encoded):
                require_tensor(value, (batch, latent), f"{name} of {images}")
            out = model.decode_logits(z[:batch, :latent], y[:batch])
            require_tensor(out, (batch, 1, 28, 28), f"what decode_logits makes of {batch} of the codes")
            _require_terms(model.elbo(x[:batch], y[:batch]), batch, images)
    _require_conditional(answer(latent_dim=100).eval())
    _require_elbo(answer)


def _require_conditional(model):
    """Refuse encode, decode_logits and decode unless what they make of each input depends on it and on its label."""
    x, z, y = torch.rand(10, 1, 28, 28), torch.randn(10, 100), torch.arange(10)
    parts = (
        ("encoder", "image", lambda *inputs: model.encode(*inputs)[0], x),
        ("decoder", "code", model.decode_logits, z),
    )
    for part, what, function, inputs in parts:
        out = function(inputs, y)
        require(out.requires_grad, f"the {part} is cut off from its weights: is there a detach or a no_grad?")
        with torch.no_grad():
            _require_seen(part, torch.cat([function(inputs[:1], label).flatten(1) for label in y.split(1)]))
            alike = close(function(inputs[:1], y[:1]), function(inputs[1:2], y[:1]))
            require(not alike, f"the {part} does not see the {what}.")
            off = (function(inputs[4:5], y[4:5]) - out[4:5]).abs().max().item()
            require(
                off < 1e-3,
                f"what the {part} makes of an input alone and of the same in a batch differs by up to {off:.2g}.",
            )
    logits, drawn = model.decode_logits(z, y), model.decode(z, y)
    require(logits.min() < 0 or logits.max() > 1, "decode_logits is nowhere below 0 or above 1: is a sigmoid applied?")
    require_tensor(drawn, logits.shape, "what decode makes of ten codes")
    require(close(drawn, logits.sigmoid()), "decode should be the sigmoid of decode_logits.")


def _require_elbo(answer):
    """Refuse an elbo that does not give both terms at codes that are drawn, for the labels that it is given."""
    sharp, x, y = _told(answer, _SHARP), _images(), torch.tensor([7, 0, 9, 4])
    mixed = sharp.elbo(x, y)[0]
    for name, labels in sharp.labels.items():
        require(labels, f"elbo never calls {name}.")
        given = torch.cat(labels).tolist()
        right = given == y.tolist() * (len(given) // 4)
        require(right, f"elbo is given the labels {y.tolist()} and hands the labels {given} to {name}.")
    model, label = _told(answer, _WIDTHS), y[:1]
    at_label = SimpleNamespace(
        codes=model.codes,
        encode=lambda x: model.encode(x.expand(2, -1, -1, -1), label.expand(2)),  # batch norm takes no single image
        decode_logits=lambda z: model.decode_logits(z, label.expand(len(z))),
    )
    for where in ("", "in evaluation mode, "):
        model.train(not where)
        terms, image, codes = _require_drawn_by(at_label, lambda x: model.elbo(x, label.expand(len(x))), where)
        value, mistakes = _reconstruction_mistakes(at_label, image, codes)
        yours, kl = terms[0].mean(), gaussian_kl(*at_label.encode(image)).mean()
        swapped = close(yours, kl) and close(terms[1].mean(), value)
        require(not swapped, "the two are in the wrong order: reconstruction first.")
        mistakes["reconstruction holds the KL as well: the two are wanted apart."] = value + kl
        _refuse_mistakes(yours, mistakes)
        given = (
            f"{yours.item():.5g} nats on average over 1,000 draws; the codes that were decoded give {value.item():.5g}"
        )
        require(close(yours, value), f"{where}reconstruction is {given}.")
    (mu, logvar), model.gaussians[:] = model.encode(x, y), []
    terms, right = model.elbo(x, y), gaussian_kl(mu, logvar)
    mistakes = {
        "kl has the wrong sign: a divergence is never negative.": -right,
        "kl is 3 times too small for codes of three numbers.": right / 3,
        "mu and logvar are taken for each other in kl.": gaussian_kl(logvar, mu),
    }
    _refuse_mistakes(terms[1], mistakes)
    require(
        close(terms[1], right),
        f"kl is {_listed(terms[1], '.4g')} nats for four images; it should be {_listed(right, '.4g')}.",
    )
    for name, term in zip(("reconstruction", "kl"), terms):
        for part, kept in zip(("mu", "logvar"), zip(*model.gaussians)):
            gradients = [None]
            if term.requires_grad:
                gradients = torch.autograd.grad(term.sum(), kept, allow_unused=True, retain_graph=True)
            reached = any(g is not None and g.any() for g in gradients)
            require(reached, f"no gradient of the {name} reaches {part}: is something detached on the way?")
    logits = sharp.decode_logits(sharp.encode(x, y)[0], y)
    off = (mixed - binary_cross_entropy(logits, x)).abs().max().item()
    require(off < 0.1, f"reconstruction is right for equal images, but in a mixed batch off by {off:.3g} nats.")
    terms = sharp.loss(x, y)
    _require_scalars(terms, "loss")
    for name, term in zip(("reconstruction", "kl"), sharp.elbo(x, y)):
        off = abs((terms[name] - term.mean()).item())
        require(off < 0.1, f"{name} of loss should be the mean of elbo's; it is {off:.3g} nats off.")
    require(close(terms["loss"], terms["reconstruction"] + terms["kl"]), "loss should be reconstruction + kl.")
