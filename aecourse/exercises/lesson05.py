"""Exercises of lesson 5, part 1."""

import math
from functools import partial

import torch
from torch import nn

from aecourse import losses, metrics, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    computed,
    observe,
    prediction,
    require,
    require_any_device,
    require_entries,
    require_normal,
    require_same,
    require_same_gradients,
    require_several,
    require_tensor,
)
from aecourse.exercises.stubs import SHARP, graded_images, stub
from aecourse.losses import bernoulli_nll, gaussian_kl
from aecourse.models import reparameterize
from aecourse.training import default_device


def require_posterior(calls, mu, sigma, what):
    """Refuse the samples of two calls, each (n, d), unless all are independent ones from N(mu, sigma²), each (d,)."""
    calls, mu, sigma = [z.detach().cpu() for z in calls], mu.detach().cpu(), sigma.detach().cpu()
    varied = [len(z[:, 0].unique()) > 1 for z in calls]
    observe([*varied, calls[0].equal(calls[1]), calls[0].equal(mu.expand_as(calls[0]))])
    require_normal(torch.cat(calls), mu, sigma, what)


def require_sampled(model, method):
    """Refuse a method of a stub that decodes anything but samples of the posterior.

    Returns what it gives for 1,000 equal images; the mean reconstruction at the samples that it decoded for them;
    and the KL, in closed form and as estimated from these samples.
    """
    where = "in training" if model.training else "in evaluation mode"
    x, calls = graded_images()[1:2].to(default_device()), []
    for _ in range(2):
        model.decoded.clear()
        result = call(getattr(model, method), x.repeat(1000, 1, 1, 1), sampled=True)
        require(model.decoded, f"{where}, decode_logits is never called.")
        calls.append(torch.cat(model.decoded))
    mu, logvar = model.encode(x)
    sigma = (0.5 * logvar).exp()
    require_posterior(calls, mu[0], sigma[0], f"{where}, of what is decoded")
    noise = ((calls[1] - mu) / sigma).detach()
    z = mu + sigma * noise
    logits = model.decode_logits(z)
    estimate = 0.5 * (z.square() - noise.square() - logvar).sum(dim=1).mean()
    return result, bernoulli_nll(logits, x.expand_as(logits)).mean(), (gaussian_kl(mu, logvar)[0], estimate)


class Dense(nn.Module):
    """A small version of the lesson's DenseVAE, with batch norm and dropout, and with a posterior of about this σ."""

    def __init__(self, width):
        super().__init__()
        inner = nn.Sequential(nn.BatchNorm1d(30), nn.Dropout(0.5))
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), inner, nn.ReLU())
        self.mu, self.logvar = nn.Linear(30, 5), nn.Linear(30, 5)
        self.decoder = nn.Sequential(nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 784), nn.Unflatten(1, (1, 28, 28)))
        nn.init.constant_(self.logvar.bias, 2 * math.log(width))
        self.encoder.eval()  # as frozen batch norm is, while the model is in training mode

    def encode(self, x):
        h = self.encoder(x)
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z):
        return self.decoder(z)


def dense(base=models.VariationalAutoencoder, width=1e-6, **methods):
    """A Dense that has the methods of a base class, which may be the learner's, and these."""
    return type("SmallVAE", (Dense, base), methods)(width)


def confident(model):
    """An image for which a stub's decoder now gives logits of ±30 and ±200, wrong at grey pixels and at one black."""
    logits = torch.tensor([-200.0, -30.0, -30.0, 30.0, 200.0, 0.0, 1.0], device=default_device()).repeat(112)
    x = (logits > 0).float()
    x[1::7], x[3] = 0.3, 0
    with torch.no_grad():
        z = model.encode(x[None])[0]
        model.weight.copy_(z.T * logits / z.square().sum())
    return x.view(1, 1, 28, 28)


def require_same_loss(model, right, x):
    """Refuse a model whose loss, or its gradient, differs from that of the right one."""
    right.load_state_dict(model.state_dict(), strict=False)
    what = f"for a batch of {len(x)}"
    terms, names = call(model.loss, x, sampled=True), ("reconstruction", "kl", "loss")
    require_entries(terms, names, f"{what}, what the loss returns")
    correct = right.loss(x)
    for name in names:
        require_tensor(terms[name], (), f"{what}, {name}", device=x.device)
        require_same(terms[name], correct[name], f"{what}, {name}")
    ours = dict(right.named_parameters())
    yours = {name: model.get_parameter(name) for name in ours}
    require_same_gradients(terms["loss"], correct["loss"], yours, f"{what}, the loss", ours)


# 5.1 reparameterize

sample = Exercise(
    "5.1",
    models.reparameterize,
    hints=(
        "Take a sample from N(0, 1), scale it to the right standard deviation, and shift it to the right mean.",
        "logvar is the logarithm of the variance, σ². What is σ?",
        "torch.randn_like(mu) makes the noise; (0.5 * logvar).exp() is σ.",
    ),
)


@sample.check
def _(answer):
    device, mu = default_device(), torch.tensor([[2.0, -1.0, 0.0], [-4.0, 0.5, 1.0]])
    usual = 2 * torch.tensor([[3.0, 0.5, 0.01], [0.2, 1.0, 2.0]]).log()
    for logvar in (usual, torch.tensor([[10.0, -10.0, 1.0], [-10.0, 3.0, 9.0]])):
        inputs = [computed(x.repeat(5000, 1).to(device)) for x in (mu, logvar)]
        z = call(answer, *inputs, sampled=True)
        require_tensor(z, (10_000, 3), "what it returns for 10,000 images", device=device)
        with torch.no_grad():
            again = call(answer, *(x.detach() for x in inputs), sampled=True)
        require_tensor(again, (10_000, 3), "what it returns inside torch.no_grad()", device=device)
        sigma, pairs = (0.5 * logvar).exp(), [z.reshape(-1, 6), again.reshape(-1, 6)]
        require_posterior(pairs, mu.flatten(), sigma.flatten(), "of what it samples for two images in turn")
        noise = ((z - inputs[0]) / sigma.repeat(5000, 1).to(device)).detach()
        right = inputs[0] + (0.5 * inputs[1]).exp() * noise
        require_same_gradients(z, right, dict(zip(("mu", "logvar"), inputs)), "what it samples")
    require_any_device(answer, *inputs)
    for shape in ((3, 5), (1, 2), (128, 20)):
        mu, logvar = torch.randn(shape, device=device), torch.full(shape, -28.0, device=device)
        z = call(answer, mu, logvar, sampled=True)
        require_tensor(z, shape, f"for mu and logvar of the shape {shape}, what it returns", device=device)
        require_same(z, mu, "for a σ of 0.000001, where a sample is nearly mu, what it returns", atol=1e-4)
    again, mu, logvar = [], torch.randn(3, 5), torch.randn(3, 5)
    for _ in range(2):
        torch.default_generator.manual_seed(1)
        again.append(call(answer, mu, logvar, sampled=True))
    require(again[0].equal(again[1]), "after the same torch.manual_seed it samples something else.")


sample.add_mistakes(
    variance_as_sigma=(
        "the noise is multiplied by the variance σ²; the standard deviation σ is wanted.",
        lambda mu, logvar: mu + logvar.exp() * torch.randn_like(mu),
    ),
    logvar_as_sigma=(
        "the noise is multiplied by logvar, which is a logarithm. What makes σ of it?",
        lambda mu, logvar: mu + logvar * torch.randn_like(mu),
    ),
    forgets_sigma=("the noise has the standard deviation 1 for every σ.", lambda mu, logvar: mu + torch.randn_like(mu)),
    root_of_logvar=(
        "a root is taken of logvar, which may be negative. It is the variance whose root is σ.",
        lambda mu, logvar: mu + logvar.sqrt() * torch.randn_like(mu),
    ),
    rand_instead_of_randn=(
        "the noise is never negative: torch.rand is uniform between 0 and 1. Which is the normal one?",
        lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.rand_like(mu),
    ),
    shared_by_the_batch=(
        "all images of a batch get the same noise.",
        lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.randn(mu.shape[1], device=mu.device),
    ),
    shared_by_the_dimensions=(
        "all latent dimensions of an image get the same noise.",
        lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.randn(len(mu), 1, device=mu.device),
    ),
    sigma_of_the_first=(
        "all images get the σ of the first.",
        lambda mu, logvar: mu + (0.5 * logvar[:1]).exp() * torch.randn_like(mu),
    ),
    none_without_gradients=(
        "inside torch.no_grad() nothing is sampled; models are evaluated there.",
        lambda mu, logvar: reparameterize(mu, logvar) if torch.is_grad_enabled() else mu,
    ),
    torch_normal=(
        "the samples are right, but no gradient reaches mu and logvar. How does PyTorch's function sample?",
        lambda mu, logvar: torch.normal(mu, (0.5 * logvar).exp()),
    ),
    detaches_sigma=(
        "the samples are right, but σ is detached: logvar could not learn.",
        lambda mu, logvar: mu + (0.5 * logvar).exp().detach() * torch.randn_like(mu),
    ),
)


@sample.mistake("every call samples the same noise: set no seed inside.")
def seeds_the_noise(mu, logvar):
    torch.manual_seed(0)
    return reparameterize(mu, logvar)


# 5.2 gaussian_kl

divergence = Exercise(
    "5.2",
    losses.gaussian_kl,
    hints=(
        "For one latent dimension: ½ (mu² + σ² − 1 − log σ²).",
        "logvar is log σ². So σ² is its exponential, and log σ² needs no logarithm.",
        "Sum over the latent dimensions, dim=1. Every image keeps its own sum.",
    ),
)


@divergence.check
def _(answer):
    images = torch.randn(2, 3, 5)
    images[:, 2] = 0  # the prior itself, whose KL is 0
    extreme = torch.tensor([[[3.0, -2.0]], [[10.0, -10.0]]])
    for inputs in (images, extreme, torch.randn(2, 1, 4), 3 * torch.randn(2, 128, 20)):
        mu, logvar = (computed(x) for x in inputs.to(default_device()))
        result = call(answer, mu, logvar)
        what = f"for mu and logvar of the shape {tuple(mu.shape)}, what it returns"
        require_tensor(result, mu.shape[:1], what, device=mu.device)
        right = losses.gaussian_kl(mu, logvar)
        require_same(result, right, what, atol=1e-5)
        require_same_gradients(result, right, {"mu": mu, "logvar": logvar}, what)
    require_any_device(answer, mu, logvar)


divergence.add_mistakes(
    forgets_the_minus=(
        "the sign is wrong: a divergence is never negative.",
        lambda mu, logvar: -gaussian_kl(mu, logvar),
    ),
    forgets_the_half=("it is twice the divergence: where is the ½?", lambda mu, logvar: 2 * gaussian_kl(mu, logvar)),
    sums_over_everything=(
        "it is one number for the whole batch; keep one for each image.",
        lambda mu, logvar: gaussian_kl(mu, logvar).sum(),
    ),
    sums_over_the_batch=(
        "it sums over the batch; sum over the latent dimensions of each image.",
        lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=0),
    ),
    averages_over_the_dimensions=(
        "it averages over the latent dimensions; sum over them.",
        lambda mu, logvar: gaussian_kl(mu, logvar) / mu.shape[1],
    ),
    averages_over_the_batch=(
        "every image gets the average of the batch; each has a KL of its own.",
        lambda mu, logvar: gaussian_kl(mu, logvar).mean().expand(len(mu)),
    ),
    swaps_mu_and_logvar=("mu and logvar are swapped.", lambda mu, logvar: gaussian_kl(logvar, mu)),
    other_direction=(
        "that is KL(N(0, I) ‖ N(mu, σ²)); the other direction is wanted.",
        lambda mu, logvar: 0.5 * (logvar - 1 + (1 + mu.square()) / logvar.exp()).sum(dim=1),
    ),
    reads_logvar_as_log_sigma=(
        "logvar is read as log σ; it is log σ².",
        lambda mu, logvar: gaussian_kl(mu, 2 * logvar),
    ),
    sigma_without_the_square=(
        "it has σ where σ² should be.",
        lambda mu, logvar: 0.5 * (mu.square() + (0.5 * logvar).exp() - 1 - logvar).sum(dim=1),
    ),
    detaches_the_variance=(
        "the values are right, but part of it is detached: σ² has a gradient as well.",
        lambda mu, logvar: 0.5 * (mu.square() + logvar.exp().detach() - 1 - logvar).sum(dim=1),
    ),
)


@divergence.mistake("it is estimated from a sample; the formula needs none.")
def from_a_sample(mu, logvar):
    z = reparameterize(mu, logvar)
    return 0.5 * (z.square() - (z - mu).square() / logvar.exp() - logvar).sum(dim=1)


# 5.3 VariationalAutoencoder

vae = Exercise(
    "5.3",
    models.VariationalAutoencoder,
    hints=(
        "Four steps: encode, sample, decode, compare. The first gives mu and logvar.",
        "decode_logits turns the sampled latent code into what bernoulli_nll takes.",
        "gaussian_kl(mu, logvar) is the second term. Both functions give one number per image: return them.",
    ),
)


@vae.check
def _(answer):
    module = isinstance(answer, type) and issubclass(answer, nn.Module)
    require(module, "the lesson's models are built on it: it should be a class, and an nn.Module.")
    device, names = default_device(), ("reconstruction", "kl")
    trained = stub(answer).to(device)
    at_samples = [require_sampled(trained.train(mode), "elbo") for mode in (True, False)][0]
    for x in (graded_images().to(device), graded_images()[1:2].to(device)):
        model, right = (stub(kind, SHARP).to(device) for kind in (answer, models.VariationalAutoencoder))
        model.beta = right.beta = 3.0
        terms = require_several(call(model.elbo, x, sampled=True), names, "what elbo returns")
        for name, term, value, part in zip(names, terms, right.elbo(x), ("weight", "logvar")):
            require_tensor(term, (len(x),), f"for a batch of {len(x)}, {name}", device=device)
            require_same(term, value, f"for a batch of {len(x)}, {name}")
            yours, ours = ({"mu": m.mu, part: m.get_parameter(part)} for m in (model, right))
            require_same_gradients(term, value, yours, name, ours)
        require_same_loss(model, right, x)
        for name, inputs in (("decode", model.encode(x)[0]), ("reconstruct", x), ("forward", x)):
            result, value = call(getattr(model, name), inputs), right.reconstruct(x)
            require_tensor(result, x.shape, f"what {name} returns", device=device)
            require_same(result, value, f"what {name} returns")
            yours, ours = ({"mu": m.mu, "weight": m.weight} for m in (model, right))
            require_same_gradients(result, value, yours, f"what {name} returns", ours)
    (term, kl), right, (right_kl, _) = at_samples
    require_same(term.mean(), right, "the mean reconstruction of 1,000 equal images")
    require_same(kl, right_kl.expand(1000), "for equal images, kl")
    require_same_gradients(term.mean(), right, dict(trained.named_parameters()), "at the samples, reconstruction")
    require_same_loss(dense(answer).to(device), dense().to(device), graded_images().to(device))
    x = confident(model)
    term, value = call(model.elbo, x, sampled=True)[0], bernoulli_nll(model.decode_logits(model.encode(x)[0]), x)
    require_same(term, value, "where logits are ±30 and ±200, reconstruction")
    finite = all(g.isfinite().all() for g in torch.autograd.grad(term.sum(), (model.mu, model.weight)))
    require(finite, "where logits are ±30 and ±200, a gradient of reconstruction is nan or inf.")


def model_with(elbo):
    """The solution with another elbo."""
    return type(elbo.__name__, (models.VariationalAutoencoder,), {"elbo": elbo})


def elbo_mistake(message):
    """Register as a mistake an elbo, written as a function of model, images, mu, logvar and a sample."""

    def register(function):
        def elbo(self, x):
            mu, logvar = self.encode(x)
            return function(self, x, mu, logvar, reparameterize(mu, logvar))

        elbo.__name__ = function.__name__
        return vae.mistake(message)(model_with(elbo))

    return register


def elbo_at(model, x, mu, logvar, z):
    """Both terms of the negative ELBO, if z is the sample."""
    return bernoulli_nll(model.decode_logits(z), x), gaussian_kl(mu, logvar)


@elbo_mistake("nothing is sampled: it decodes the mean.")
def decodes_the_mean(self, x, mu, logvar, z):
    return elbo_at(self, x, mu, logvar, mu)


@elbo_mistake("it samples in training mode only; evaluation has the same loss.")
def samples_in_training_only(self, x, mu, logvar, z):
    return elbo_at(self, x, mu, logvar, z if self.training else mu)


@elbo_mistake("a sigmoid is applied twice: bernoulli_nll takes logits.")
def sigmoid_twice(self, x, mu, logvar, z):
    return bernoulli_nll(self.decode(z), x), gaussian_kl(mu, logvar)


@elbo_mistake("that is the squared error; the ELBO has the negative log-likelihood, in nats.")
def squared_error(self, x, mu, logvar, z):
    return losses.squared_error(self.decode(z), x), gaussian_kl(mu, logvar)


@elbo_mistake("it takes logarithms of probabilities, which become exactly 0 and 1: training would end in nan.")
def logarithms_of_probabilities(self, x, mu, logvar, z):
    p = self.decode(z)
    return -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1), gaussian_kl(mu, logvar)


@elbo_mistake("kl is already weighted by beta; loss does that.")
def weights_by_beta(self, x, mu, logvar, z):
    return bernoulli_nll(self.decode_logits(z), x), self.beta * gaussian_kl(mu, logvar)


@elbo_mistake("mu and logvar are swapped in kl.")
def swaps_in_the_kl(self, x, mu, logvar, z):
    return elbo_at(self, x, logvar, mu, z)


@elbo_mistake("kl is that of the sample; it should be that of the posterior.")
def kl_of_the_sample(self, x, mu, logvar, z):
    return elbo_at(self, x, z, logvar, z)


@elbo_mistake("the sampled latent code is detached: reconstruction gives the encoder no gradient.")
def detaches_the_sample(self, x, mu, logvar, z):
    return elbo_at(self, x, mu, logvar, z.detach())


@elbo_mistake("the sample passes no gradient on to logvar, which learns from the KL alone.")
def detaches_sigma(self, x, mu, logvar, z):
    return elbo_at(self, x, mu, logvar, reparameterize(mu, logvar.detach()))


vae.add_mistakes(
    lambda change: model_with(lambda self, x: change(*models.VariationalAutoencoder.elbo(self, x))),
    mean_over_pixels=("reconstruction is averaged over the pixels; sum over them.", lambda r, kl: (r / 784, kl)),
    kl_first=("the two are in the wrong order: reconstruction first.", lambda r, kl: (kl, r)),
    log_likelihood=("reconstruction has the wrong sign: it is minus a log-likelihood.", lambda r, kl: (-r, kl)),
    negative_kl=("kl has the wrong sign: a divergence is never negative.", lambda r, kl: (r, -kl)),
    adds_the_kl=("reconstruction contains the KL as well; return the two separately.", lambda r, kl: (r + kl, kl)),
    detaches_the_kl=("kl is detached: nothing pulls the posterior to the prior.", lambda r, kl: (r, kl.detach())),
    averages_the_batch=(
        "both are averaged over the batch already; keep one number for each image. loss averages.",
        lambda r, kl: (r.mean(), kl.mean()),
    ),
    average_for_each=(
        "every image gets the average of its batch; each has a reconstruction of its own.",
        lambda r, kl: (r.mean().expand(len(r)), kl),
    ),
)


# 5.4 vae_loss

fix_loss = Exercise(
    "5.4",
    models.VariationalAutoencoder.loss,
    hints=(
        "The symptom is in the KL alone. Which of its axes is the batch, which the latent dimensions?",
        "For each image the KL is a sum over its latent dimensions. Then comes the mean over images.",
    ),
    name="vae_loss",
)


@fix_loss.check
def _(answer):
    device = default_device()
    for make in (dense, partial(stub, widths=SHARP)):
        model, right = make(loss=answer).to(device), make().to(device)
        for x in (graded_images().to(device), graded_images()[1:2].to(device)):
            require_same_loss(model, right, x)
    x = confident(model)
    value = bernoulli_nll(model.decode_logits(model.encode(x)[0]), x)[0]
    require_same(
        call(model.loss, x, sampled=True)["reconstruction"], value, "at logits of ±30 and ±200, reconstruction"
    )
    model = stub(loss=answer).to(device)
    result, reconstruction, (kl, _) = [require_sampled(model.train(mode), "loss") for mode in (True, False)][0]
    require_same(result["loss"], reconstruction + kl, "the loss of 1,000 equal images")
    parts = dict(model.named_parameters())
    require_same_gradients(result["loss"], reconstruction + kl, parts, "at the samples, the loss")


def loss_of(reconstruction, kl):
    """The dictionary that a loss returns."""
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@fix_loss.given("the loss of the same images still depends on how many of them are in a batch.")
def the_bug_itself(model, x):
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    reconstruction = bernoulli_nll(logits, x).mean()
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=0).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@fix_loss.mistake("the KL no longer depends on the batch, but is too small: the more latent dimensions, the smaller.")
def mean_of_everything(model, x):
    mu, logvar = model.encode(x)
    return loss_of(model.elbo(x)[0].mean(), gaussian_kl(mu, logvar).mean() / mu.shape[1])


@fix_loss.mistake("the terms are right, but the loss is not their sum.")
def drops_the_kl(model, x):
    reconstruction, kl = (term.mean() for term in model.elbo(x))
    return loss_of(reconstruction, kl) | {"loss": reconstruction}


@fix_loss.mistake("something else has changed: the same images have the same reconstruction term in every call.")
def decodes_mu(model, x):
    mu, logvar = model.encode(x)
    return loss_of(bernoulli_nll(model.decode_logits(mu), x).mean(), gaussian_kl(mu, logvar).mean())


@fix_loss.mistake("the values are right, but the encoder no longer learns from the reconstruction.")
def detaches_the_latent_code(model, x):
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar).detach())
    return loss_of(bernoulli_nll(logits, x).mean(), gaussian_kl(mu, logvar).mean())


fix_loss.add_mistakes(
    lambda change: lambda model, x: loss_of(*change(*model.elbo(x))),
    sums_everything=("twice as many images have twice the KL.", lambda r, kl: (r.mean(), kl.sum())),
    batches_of_128=("the KL is right for batches of 128 images only.", lambda r, kl: (r.mean(), kl.sum() / 128)),
    negative_kl=("the KL is negative now; a divergence never is.", lambda r, kl: (r.mean(), -kl.mean())),
    sums_the_reconstruction=(
        "now twice as many images have twice the reconstruction term; its mean was right.",
        lambda r, kl: (r.sum(), kl.mean()),
    ),
)


# 5.5 elbo_estimate

fix_estimate = Exercise(
    "5.5",
    metrics.elbo_estimate,
    hints=(
        "The first term of the ELBO is an expectation over q(z|x). What is decoded here instead?",
        "The mean is a single latent code, and an unusually good one. Take a sample, as in training.",
    ),
)


@fix_estimate.check
@torch.no_grad()
def _(answer):
    device, widths = default_device(), (0.01,) * 3
    model = stub(estimate=answer).to(device)
    result, reconstruction, kls = [require_sampled(model.train(mode), "estimate") for mode in (True, False)][1]
    for model in (stub(widths=widths, estimate=answer).to(device), dense(width=0.01, estimate=answer).to(device)):
        for x in (graded_images().to(device), graded_images()[1:2].to(device)):
            model.beta = 3.0  # weights the loss; the ELBO has no beta
            results = [call(model.estimate, x, sampled=True) for _ in range(50)]
            what = f"for a batch of {len(x)}, what it returns"
            for one in results:
                require_tensor(one, (len(x),), what, device=device)
            mu, logvar = model.encode(x)
            right = -bernoulli_nll(model.decode_logits(mu), x) - gaussian_kl(mu, logvar)
            # a σ of 0.01 moves a sample's estimate by a nat or so; the KL may be estimated as well
            require_same(torch.stack(results).mean(dim=0), right, f"{what}, averaged over 50 calls,", 0, 1.5)
    yours = result.mean()
    right = min((-reconstruction - kl for kl in kls), key=lambda value: (value - yours).abs())
    require_same(yours, right, "on average over 1,000 equal images, what it returns")
    model = stub(widths=widths, estimate=answer).to(device)
    x = confident(model)
    result = call(model.estimate, x, sampled=True)
    require_same(result, metrics.elbo_estimate(model, x), "at logits of ±30 and ±200, what it returns", 0, 20)


def estimate_at(model, x, z):
    """The ELBO, if z is the sample."""
    return -bernoulli_nll(model.decode_logits(z), x) - gaussian_kl(*model.encode(x))


@fix_estimate.given("two calls give the very same estimate, and it is better than what `evaluate` says.")
def the_bug_in_the_estimate(model, x):
    mu, logvar = model.encode(x)
    logits = model.decode_logits(mu)
    return -bernoulli_nll(logits, x) - gaussian_kl(mu, logvar)


@fix_estimate.mistake("in evaluation mode two calls still give the very same estimate.")
def samples_while_training(model, x):
    mu, logvar = model.encode(x)
    return estimate_at(model, x, reparameterize(mu, logvar) if model.training else mu)


@fix_estimate.mistake("two calls differ now, but by more where the posterior is wide, and by less where it is narrow.")
def samples_with_the_variance(model, x):
    mu, logvar = model.encode(x)
    return estimate_at(model, x, mu + torch.randn_like(mu) * logvar.exp())


@fix_estimate.mistake("equal images of a batch still get the very same estimate.")
def noise_for_the_whole_batch(model, x):
    mu, logvar = model.encode(x)
    return estimate_at(model, x, mu + (0.5 * logvar).exp() * torch.randn_like(mu[0]))


@fix_estimate.mistake("it is too high: the average image of several samples is better than a single sample.")
def average_of_images(model, x):
    mu, logvar = model.encode(x)
    logits = sum(model.decode_logits(reparameterize(mu, logvar)) for _ in range(8)) / 8
    return -bernoulli_nll(logits, x) - gaussian_kl(mu, logvar)


fix_estimate.add_mistakes(
    lambda change: lambda model, x: change(*model.elbo(x)),
    negative_elbo=("the sign is wrong: the ELBO of these images is negative.", lambda r, kl: r + kl),
    adds_the_kl=("it is too high by twice the KL.", lambda r, kl: kl - r),
    forgets_the_kl=("it is too high by the KL.", lambda r, kl: -r),
    averages=("it is one number for the whole batch; keep one for each image.", lambda r, kl: -(r + kl).mean()),
    average_kl=("an image's estimate depends on the other images of its batch.", lambda r, kl: -r - kl.mean()),
)


# 5.6 whose generated digits are closer?

prediction(
    "5.6",
    answer="alike",
    replies={
        "vae": "a VAE needs no Gaussian fitted afterwards. That is its advantage; its digits are not that much closer.",
        "autoencoder": "the fitted Gaussian is a strong baseline, but not that strong.",
    },
    hints=(
        "Both decode samples from a Gaussian: one was trained towards it, the other had it fitted afterwards.",
        "The fit includes all correlations. And compare the reconstructions of both models: which are sharper?",
    ),
)
