"""Exercises of lesson 5, part 2."""

import math

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F

from aecourse import latent, losses, metrics, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    close,
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
from aecourse.exercises.stubs import SHARP, WIDTHS, GaussianStub, graded_images, stub
from aecourse.losses import bernoulli_nll, gaussian_kl
from aecourse.models import reparameterize
from aecourse.training import default_device

# What the checks of 5b.3, 5b.5 and 5b.6 share: logits as large as those of trained models, right where an image is
# white (40) or black (-120), wrong where it is grey (-30 to 30). A network's own logits are added to them.

LOGITS = torch.cat([torch.full((196,), 40.0), torch.full((196,), -120.0), torch.linspace(-30, 30, 392)]).view(28, 28)


def mixed_images(n):
    """Up to four images, no two alike: a quarter of each is white, a quarter black, the rest grey."""
    x = graded_images()[:n]
    x[:, :, :7], x[:, :, 7:14] = 1, 0
    return x.to(default_device())


def stub_with_logits(widths=WIDTHS, **methods):
    """A stub whose logits fit these images."""

    def decode_logits(self, z):
        return GaussianStub.decode_logits(self, z) + LOGITS.to(z.device)

    return stub(widths=widths, decode_logits=decode_logits, **methods).to(default_device())


def decoded_by(model, count, function, *inputs):
    """The result of a function, and the first `count` latent codes that the model decoded for it."""
    model.decoded.clear()
    result = call(function, *inputs, sampled=True)
    z = torch.cat(model.decoded) if model.decoded else ()
    require(len(z) >= count, f"decode_logits should decode {count:,} latent codes; it decodes {len(z):,}.")
    return result, z[:count]


def terms_at(model, z, x, *label):
    """Both terms at z, sampled already, as differentiable functions of everything that they should depend on."""
    mu, logvar = model.encode(x, *label)
    sigma = (0.5 * logvar).exp()
    z = mu + ((z - mu) / sigma).detach() * sigma
    return bernoulli_nll(model.decode_logits(z, *label), x), gaussian_kl(mu, logvar)


def require_sampled(model, function, *one):
    """Refuse a function of images, or of images and labels, unless it decodes samples of q(z | x) in every mode."""
    many = [value.repeat(1000, *[1] * (value.ndim - 1)) for value in one]
    for mode, where in ((True, "training"), (False, "evaluation")):
        model.train(mode)
        z = torch.cat([decoded_by(model, 1000, function, *many)[1] for _ in range(2)])
        mu, logvar = (value[0].detach() for value in model.encode(*many))
        require_normal(z, mu, (0.5 * logvar).exp(), f"in {where} mode, the latent code of an image")


# 5b.1 interpolate

interpolate = Exercise(
    "5b.1",
    latent.interpolate,
    hints=(
        "At t = 0 it is z_start, at t = 1 z_end. What is it at t = ½?",
        "torch.linspace(0, 1, steps) holds all t. Give it two more axes, to broadcast over (batch, latent_dim).",
        "t.view(-1, 1, 1) * z_end has the shape (steps, batch, latent_dim).",
    ),
)


@interpolate.check
def _(answer):
    start = torch.tensor([[0.0, 10.0], [1.0, 1.0], [5.0, -5.0]])
    end = torch.tensor([[4.0, 2.0], [1.0, 3.0], [5.0, 5.0]])  # two latent dimensions do not change
    pairs = {5: (start, end)} | {
        steps: 10 * torch.randn(2, batch, dim) for steps, batch, dim in ((2, 1, 20), (12, 10, 20), (21, 50, 7))
    }
    for steps, (a, b) in pairs.items():
        what = f"for {len(a)} pairs of latent codes in {steps} steps, what it returns"
        result = call(answer, a, b, steps)
        require_tensor(result, (steps, *a.shape), what)
        require_same(result, latent.interpolate(a, b, steps), what, atol=1e-4)
    result = call(answer, start, end)
    require_tensor(result, (10, *start.shape), "without a number of steps, which is 10 by default, what it returns")
    require_same(result, latent.interpolate(start, end), "in 10 steps, what it returns", atol=1e-4)


def line(t_of):
    """An answer: the points on the straight lines at t = t_of(steps)."""
    return lambda z_start, z_end, steps=10: torch.lerp(z_start, z_end, t_of(steps).view(-1, 1, 1))


def even(steps):
    return torch.linspace(0, 1, steps)


interpolate.add_mistakes(
    line,
    stops_short=("the last point falls short of z_end. Both ends are included.", lambda n: torch.arange(n) / n),
    starts_late=("the first point has left z_start already. Both ends are included.", lambda n: even(n + 1)[1:]),
    neither_end=("neither z_start nor z_end is among the points; both are included.", lambda n: even(n + 2)[1:-1]),
    one_too_many=("it is one point too many: steps counts the points, both ends included.", lambda n: even(n + 1)),
    walks_back=("it goes from z_end to z_start.", lambda n: 1 - even(n)),
    counts_steps=("it goes far beyond z_end: t runs from 0 to 1.", lambda n: torch.arange(float(n))),
    eases_in=("the points are not evenly spaced.", lambda n: even(n) ** 2),
)
interpolate.add_mistakes(
    keeps_the_start=(
        "at the last point z_start still has its full weight. On a line, as z_end comes in, z_start goes out.",
        lambda a, b, steps=10: a + even(steps).view(-1, 1, 1) * b,
    ),
    batch_first=(
        "the axes are in the order (batch, steps, latent_dim); steps come first.",
        lambda a, b, steps=10: line(even)(a, b, steps).transpose(0, 1),
    ),
    scrambles=(
        "the points of different pairs are mixed up: view and reshape do not exchange axes.",
        lambda a, b, steps=10: line(even)(a, b, steps).transpose(0, 1).reshape(steps, *a.shape),
    ),
    one_axis_short=(
        "t has to broadcast over the latent codes and over their dimensions: give it an axis for each.",
        lambda a, b, steps=10: a + even(steps).view(-1, 1) * (b - a),
    ),
    one_end_for_all=(
        "all pairs end at the z_end of the first.",
        lambda a, b, steps=10: line(even)(a, b[:1].expand_as(a), steps),
    ),
)


@interpolate.mistake("it is a spherical interpolation, on an arc; straight lines are wanted here.")
def spherical(z_start, z_end, steps=10):
    omega, t = torch.acos(F.cosine_similarity(z_start, z_end, dim=1))[:, None], even(steps).view(-1, 1, 1)
    return ((1 - t) * omega).sin() / omega.sin() * z_start + (t * omega).sin() / omega.sin() * z_end


# 5b.2 how many latent dimensions are in use?

prediction(
    "5b.2",
    answer="half",
    replies={
        "all": "a dimension in use has to improve the reconstruction by at least its KL. Most of fifty do not.",
        "few": "with so few the reconstruction would be much worse, and it is the larger term.",
    },
    hints=(
        "A latent dimension that carries information has a KL above 0. One that carries none can have a KL of 0.",
        "With 20 latent dimensions, the VAE of part 1 had a KL of about 25 nats.",
    ),
)

# 5b.3 loss_in_nats

nats = Exercise(
    "5b.3",
    models.VariationalAutoencoder.loss,
    name="loss_in_nats",
    hints=(
        "Both terms should be in nats per image. Over what is each of them summed, and over what averaged?",
        'With reduction="mean", which is the default, the sum is divided by the number of all pixels of all images.',
        'reduction="sum" sums over everything. By what does the sum still have to be divided?',
    ),
)


@nats.check
def _(answer):
    names = "kl", "reconstruction", "loss"
    for n, widths in ((4, SHARP), (4, WIDTHS), (1, WIDTHS)):
        model, x = stub_with_logits(widths, loss=answer), mixed_images(n)  # as the lesson puts it into a model
        terms, z = decoded_by(model, n, model.loss, x)
        require_entries(terms, names)
        reconstruction, kl = (term.mean() for term in terms_at(model, z, x))
        right = {"kl": kl, "reconstruction": reconstruction, "loss": reconstruction + kl}
        observe([terms[name] for name in names])
        for name in names:
            what = f"for a batch of {n}, {name}"
            require_tensor(terms[name], (), what, device=x.device)
            require_same(terms[name], right[name], what)
        if widths is WIDTHS:
            require_sampled(model, model.loss, x[:1])
            require_same_gradients(terms["loss"], right["loss"], dict(model.named_parameters()), "the loss")


@nats.given("the negative log-likelihood of an image is hundreds of nats, but the reconstruction term is below 10.")
def loss_in_nats(model, x):
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    reconstruction = nn.functional.binary_cross_entropy_with_logits(logits, x)
    kl = gaussian_kl(mu, logvar).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def nats_of(terms, sample=reparameterize):
    """An answer with these terms, (reconstruction, kl) or with the loss as third, of logits, images and right terms."""

    def loss_in_nats(model, x):
        mu, logvar = model.encode(x)
        logits = model.decode_logits(sample(mu, logvar))
        right = bernoulli_nll(logits, x).mean(), gaussian_kl(mu, logvar).mean()
        reconstruction, kl, *loss = terms(logits, x, *right)
        return {"loss": loss[0] if loss else reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    return loss_in_nats


nats.add_mistakes(
    nats_of,
    both_too_small=(
        "the two terms are in balance now, but both are 784 times too small.",
        lambda logits, x, r, kl: (r / 784, kl / 784),
    ),
    entry_too_small=(
        "loss is right, but the entry reconstruction is still that of one pixel.",
        lambda logits, x, r, kl: (r / 784, kl, r + kl),
    ),
    nats_per_batch=(
        "with twice as many images the reconstruction is twice as large: that is nats per batch.",
        lambda logits, x, r, kl: (r * len(x), kl),
    ),
    mean_over_pixels=(
        "the reconstruction of an image is still a few nats at most, and that of four images four times as large.",
        lambda logits, x, r, kl: (r * len(x) / 784, kl),
    ),
    fixed_batch=(
        "the reconstruction is right for batches of 128 images only.",
        lambda logits, x, r, kl: (r * len(x) / 128, kl),
    ),
    squares=(
        "the reconstruction is a squared error now. The cross-entropy was right.",
        lambda logits, x, r, kl: (losses.squared_error(logits.sigmoid(), x).mean(), kl),
    ),
    sigmoid_twice=(
        "the logits go through a sigmoid twice.",
        lambda logits, x, r, kl: (bernoulli_nll(logits.sigmoid(), x).mean(), kl),
    ),
    from_probabilities=(
        "for logits as large as those of trained models the reconstruction is off. The loss took logits, and rightly.",
        lambda logits, x, r, kl: (F.binary_cross_entropy(logits.sigmoid(), x, reduction="sum") / len(x), kl),
    ),
    negative=("the reconstruction has the wrong sign: it is never negative.", lambda logits, x, r, kl: (-r, kl)),
    kl_per_batch=(
        "with twice as many images the KL is twice as large. It was right before.",
        lambda logits, x, r, kl: (r, kl * len(x)),
    ),
    without_kl=("both terms are right, but the loss leaves the KL out.", lambda logits, x, r, kl: (r, kl, r)),
    detached_kl=("the KL is right, but the encoder gets no gradient.", lambda logits, x, r, kl: (r, kl.detach())),
)
nats.add_mistakes(
    lambda sample: nats_of(lambda logits, x, r, kl: (r, kl), sample),
    decodes_the_mean=(
        "the mean is decoded now. The latent code was a sample, and should stay one.",
        lambda mu, logvar: mu,
    ),
    detached_z=(
        "the reconstruction is right, but its gradient does not reach the encoder.",
        lambda mu, logvar: reparameterize(mu, logvar).detach(),
    ),
)

# 5b.4 importance_bound

bound = Exercise(
    "5b.4",
    metrics.importance_bound,
    hints=(
        "exp, mean, log. But the exponential of -100 is almost 0 in single precision, and that of -200 is 0.",
        "torch.logsumexp sums exponentials without overflow or underflow. A mean is a sum divided by k.",
        "Dividing by k is subtracting log k.",
    ),
)


@bound.check
def _(answer):
    far = torch.tensor([[-1e4], [-1e4 - 2], [-1e4 - 1]])
    cases = {
        "of 2 samples for each of 3 images": torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -2.0, 1.0]]),
        "near -10,000": far,
        "near 10,000": far.abs(),
        "of 0 and 1 for one image, -200 and -201 for another": torch.tensor([[0.0, -200.0], [1.0, -201.0]]),
        "10,000 apart, the largest first": torch.tensor([[-1.0], [-1e4], [-1e4], [-1e4]]),
        "10,000 apart, the largest last": torch.tensor([[-1e4], [-1e4], [-1e4], [-1.0]]),
    }
    for shape in ((1, 1), (1, 3), (3, 1), (5, 7), (1000, 6)):
        cases[f"of the shape {shape}"] = 10 * torch.randn(shape) - 100
    for what, log_w in cases.items():
        log_w, what = computed(log_w.to(default_device())), f"from log weights {what}, the bound"
        result, right = call(answer, log_w), metrics.importance_bound(log_w)
        require_tensor(result, log_w.shape[1:], what, device=log_w.device)
        require_same(result, right, what, rtol=0, atol=0.01)
        require_same_gradients(result, right, {"log_w": log_w}, what)


bound.add_mistakes(
    mean_of_logarithms=(
        "that is the mean of the logarithms, the ELBO. The logarithm of the mean is wanted.",
        lambda log_w: log_w.mean(dim=0),
    ),
    sum_of_weights=(
        "it is log k too large: that is a sum of weights, not their mean.",
        lambda log_w: log_w.logsumexp(dim=0),
    ),
    adds_log_k=(
        "it adds log k, where a mean asks for the opposite.",
        lambda log_w: log_w.logsumexp(dim=0) + math.log(len(log_w)),
    ),
    subtracts_k=("it subtracts k instead of the logarithm of k.", lambda log_w: log_w.logsumexp(dim=0) - len(log_w)),
    divides_by_images=(
        "the sum is divided by the number of images, not by that of the samples.",
        lambda log_w: log_w.logsumexp(dim=0) - math.log(log_w.shape[1]),
    ),
    over_images=(
        "that is a mean over the images; the mean over the samples of each image is wanted.",
        lambda log_w: log_w.logsumexp(dim=1) - math.log(log_w.shape[1]),
    ),
    largest_alone=("that is only the largest weight; the others count as well.", lambda log_w: log_w.amax(dim=0)),
    no_logarithm=("that is the mean weight itself; its logarithm is wanted.", lambda log_w: log_w.exp().mean(dim=0)),
    as_a_loss=(
        "the sign is wrong: a bound on log p(x) is wanted, not a loss.",
        lambda log_w: -metrics.importance_bound(log_w),
    ),
    naive=(
        "it is right only for weights of moderate size. What is exponentiated, and how small is the result?",
        lambda log_w: log_w.exp().mean(dim=0).log(),
    ),
    with_epsilon=(
        "a constant is added to the weights so that their logarithm is finite, but small weights are smaller than it.",
        lambda log_w: (log_w.exp().mean(dim=0) + 1e-30).log(),
    ),
    largest_of_all=(
        "one maximum for all images is not enough: next to a likely image, the weights of another underflow to 0.",
        lambda log_w: (log_w - log_w.max()).exp().mean(dim=0).log() + log_w.max(),
    ),
    mean_taken_out=(
        "subtracting the mean is not enough: a sample may lie far above it, and its exponential overflows.",
        lambda log_w: (log_w - log_w.mean(dim=0)).exp().mean(dim=0).log() + log_w.mean(dim=0),
    ),
)

# 5b.5 log_weights

weights = Exercise(
    "5b.5",
    metrics.log_weights,
    hints=(
        "Every line but one is right. Which distribution do the encoder's outputs describe?",
        "torch.distributions.Normal takes a mean and a standard deviation.",
    ),
)


@weights.check
@torch.no_grad()
def _(answer):
    moderate, extreme = (0.3, 0.1, 0.02), (math.exp(5), 0.3, math.exp(-5))
    for k, n, widths in ((1000, 2, moderate), (1, 1, moderate), (1000, 1, extreme), (1, 4, extreme), (5, 2, extreme)):
        model, x = stub_with_logits(widths), mixed_images(n)
        model.weight.mul_(0.05)
        result, decoded = decoded_by(model, k * n, answer, model, x, k)
        what = f"of {k:,} samples for a batch of {n}, what it returns"
        require_tensor(result, (k, n), what, device=x.device)
        mu, logvar = model.encode(x)
        sigma = (0.5 * logvar).exp()
        orders = decoded.view(k, n, 3), decoded.view(n, k, 3).transpose(0, 1)  # sample by sample, or image by image
        z = min(orders, key=lambda z: ((z - mu) / sigma).square().sum())
        if k == 1000:
            observe(result.mean(dim=0), 0, 8 * result.std(dim=0).max().item() / k**0.5)
            require_normal(z.flatten(1), mu.flatten(), sigma.flatten(), f"of {n} images, the latent codes")
        right = weights_with(model, x, k, importance, z)
        off = f"{what} is up to {(result - right).abs().max():.3g} nats off for the latent codes that were decoded."
        require(close(result, right, rtol=1e-5, atol=0.02), off)
    first, second = (call(answer, model, x, k, sampled=True) for _ in range(2))
    require(not torch.equal(first, second), "two calls use the same samples; take new ones in every call.")


def importance(log_x, log_p, log_q):
    return log_x + log_p - log_q


def weights_with(model, x, k, combine, z=None, order=lambda x, k: x.repeat(k, 1, 1, 1)):
    """log p(x | z), log p(z) and log q(z | x), each (k, batch), combined, at this z or at new samples."""
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.sample((k,)) if z is None else z
    log_x = -bernoulli_nll(model.decode_logits(z.flatten(0, 1)), order(x, k)).view(k, len(x))
    return combine(log_x, Normal(0, 1).log_prob(z).sum(dim=2), q.log_prob(z).sum(dim=2))


@weights.given("the mean of the log weights should be the ELBO; it is several nats below.")
def log_weights(model, x, k):
    mu, logvar = model.encode(x)
    q = Normal(mu, logvar.exp())
    z = q.sample((k,))
    logits = model.decode_logits(z.flatten(0, 1))
    log_likelihood = -bernoulli_nll(logits, x.repeat(k, 1, 1, 1)).view(k, len(x))
    return log_likelihood + Normal(0, 1).log_prob(z).sum(dim=2) - q.log_prob(z).sum(dim=2)


weights.add_mistakes(
    lambda combine: lambda model, x, k: weights_with(model, x, k, combine),
    no_prior=("log p(z) is missing.", lambda x, p, q: x - q),
    no_posterior=("log q(z | x) is missing: p(x | z) p(z) is to be divided by it.", lambda x, p, q: x + p),
    likelihood_alone=("log p(z) and log q(z | x) are missing.", lambda x, p, q: x),
    posterior_added=("log q(z | x) has the wrong sign: the weight is divided by q(z | x).", lambda x, p, q: x + p + q),
    upside_down=("log p(z) and log q(z | x) are swapped.", lambda x, p, q: x - p + q),
    likelihood_subtracted=(
        "log p(x | z) has the wrong sign: bernoulli_nll is the negative log-likelihood.",
        lambda x, p, q: p - q - x,
    ),
    as_losses=("all signs are wrong: these are losses.", lambda x, p, q: q - x - p),
    averages=("it averages over the samples; keep each one.", lambda x, p, q: (x + p - q).mean(dim=0)),
)


@weights.mistake("the latent codes are right, but log q(z | x) is that of another Gaussian.")
def other_density(model, x, k):
    mu, logvar = model.encode(x)
    z = Normal(mu, (0.5 * logvar).exp()).sample((k,))
    log_q = Normal(mu, logvar.exp()).log_prob(z).sum(dim=2)
    return weights_with(model, x, k, lambda log_x, log_p, _: log_x + log_p - log_q, z)


@weights.mistake("log q(z | x) is right, but the latent codes come from another Gaussian.")
def narrow_samples(model, x, k):
    mu, logvar = model.encode(x)
    return weights_with(model, x, k, importance, reparameterize(mu.expand(k, -1, -1), 2 * logvar))


@weights.mistake("the KL in closed form is an average over z; here each sample counts with its own z.")
def closed_form(model, x, k):
    return weights_with(model, x, k, lambda log_x, log_p, log_q: log_x - gaussian_kl(*model.encode(x)))


@weights.mistake("latent codes are paired with the wrong images. In which order are the codes, in which the images?")
def images_in_another_order(model, x, k):
    return weights_with(model, x, k, importance, order=lambda x, k: x.repeat_interleave(k, dim=0))


# 5b.6 ConditionalVAE

conditional = Exercise(
    "5b.6",
    models.ConditionalVAE,
    hints=(
        "nn.functional.one_hot(y, self.num_classes) turns a label into a vector of ten numbers.",
        "torch.cat([…, …], dim=1) appends it to the pixels, or to the latent code.",
        "After that encode, decode_logits and elbo are those of DenseVAE, with y passed on.",
    ),
)


@conditional.check
def _(answer):
    require(isinstance(answer, type) and issubclass(answer, nn.Module), "it should be a class, and an nn.Module.")
    device, y = default_device(), torch.tensor([7, 0, 9, 4, 1, 3, 8, 2, 6, 5, 9, 0], device=default_device())
    for n, latent_dim, sizes in (
        (12, 100, {"latent_dim": 100}),
        (1, 20, {}),
        (2, 5, {"latent_dim": 5, "hidden_dim": 16}),
    ):
        model, few = answer(**sizes).to(device).eval(), y[-n:]
        x, z = (computed(torch.rand(n, *shape, device=device)) for shape in ((1, 28, 28), (latent_dim,)))
        encoded = call(model.encode, x, few)
        require_several(encoded, ("mu", "logvar"), "what encode returns")
        require(isinstance(encoded, tuple), "what encode returns is a list; a tuple is wanted.")
        for name, value in zip(("mu", "logvar"), encoded):
            require_tensor(value, (n, latent_dim), f"{name} of {n} images", device=device)
        logits = call(model.decode_logits, z, few)
        require_tensor(logits, (n, 1, 28, 28), f"the logits of {n} latent codes", device=device)
        images = call(model.decode, z, few)
        require_tensor(images, (n, 1, 28, 28), f"the decoded images of {n} latent codes", device=device)
        require_same(images, logits.sigmoid(), "what decode, which was given, returns")
        require_same_gradients(images, logits.sigmoid(), {"the latent code": z}, "what decode returns")
        if n == 12:
            require_conditional(model)
    elsewhere = answer().to("meta")
    require_any_device(elsewhere.encode, x, few)
    require_any_device(elsewhere.decode_logits, torch.randn(n, 20), few)
    record(model)
    require_sampled(model, model.elbo, mixed_images(2)[1:], y[:1])
    for n in (4, 1):
        x, few, parameters = mixed_images(n), y[:n], dict(model.named_parameters())
        terms, z = decoded_by(model, n, model.elbo, x, few)
        right = terms_at(model, z, x, few)
        names = "reconstruction", "kl"
        observe(list(require_several(terms, names, "what elbo returns")))
        for name, term, wanted in zip(names, terms, right):
            what = f"for a batch of {n}, {name} of elbo"
            require_tensor(term, (n,), what, device=device)
            require_same(term, wanted, what, rtol=2e-5)  # before training, labels make a small difference
            require_same_gradients(term, wanted, parameters, what)
        terms, z = decoded_by(model, n, model.loss, x, few)
        require_entries(terms, ("loss", *names), "what loss returns")
        right = dict(zip(names, (term.mean() for term in terms_at(model, z, x, few))))
        right["loss"] = sum(right.values())
        for name, wanted in right.items():
            require_same(terms[name], wanted, f"what loss, which was given, returns as {name}")
        require_same_gradients(terms["loss"], right["loss"], parameters, "what loss, which was given, returns")


def record(model):
    """Have a model record the z that it decodes; give it narrow and wide posteriors, and large logits."""
    encode, decode_logits, model.decoded = model.encode, model.decode_logits, []

    def wide(x, y):
        mu, logvar = encode(x, y)
        return mu, logvar + torch.linspace(-10, 3, mu.shape[1], device=x.device)

    def large(z, y):
        model.decoded.append(z.detach())
        return decode_logits(z, y) + LOGITS.to(z.device)

    model.encode, model.decode_logits = wide, large


def require_conditional(model):
    """Refuse encode and decode_logits unless a result depends on its input, on its label, and on the parameters."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # an activation after the last layer shows
    y = torch.arange(10, device=default_device())
    shapes = (1, 28, 28), (100,)
    x, z = ((0.9 * torch.rand(10, *shape, device=y.device)).requires_grad_() for shape in shapes)  # 0.1 is added below
    mu, logvar = model.encode(x, y)
    alike = F.cosine_similarity(mu.flatten(), logvar.flatten(), dim=0).abs()
    require(alike < 0.9, "mu and logvar are the same up to a factor. Do both come from the same layer?")
    for name, function, what, inputs in (
        ("mu", lambda *batch: model.encode(*batch)[0], "image", x),
        ("logvar", lambda *batch: model.encode(*batch)[1], "image", x),
        ("logits", model.decode_logits, "latent code", z),
    ):
        out = function(inputs, y)
        alone = torch.cat([function(inputs[i : i + 1], y[i : i + 1]) for i in range(10)])
        require_same(out, alone, f"in a batch of ten, {name}, compared with each {what} alone,", rtol=1e-3, atol=1e-3)
        labels = function(inputs[:1].expand_as(inputs), y).flatten(1)
        apart = (labels[:, None] - labels).norm(dim=2)
        smallest, other = (apart + torch.full((10,), math.inf, device=y.device).diag()).min(dim=1)
        require(  # about 0.9 for one-hot labels, 0.2 or more for embeddings; 1 : 9 for a label as one number
            smallest.min() > 0.15 * apart.max(),
            f"{name}: for one {what}, labels {smallest.argmin()} and {other[smallest.argmin()]} make a difference of "
            f"{smallest.min():.2g}, other labels of up to {apart.max():.2g}. Is each label one-hot?",
        )
        ends, middle = (inputs, inputs.flip(0)), (inputs + inputs.flip(0)) / 2
        bend = function(middle, 0 * y) - sum(function(end, 0 * y) for end in ends) / 2
        linear = f"for one label, {name} is linear in the {what}, or does not depend on it. Where is an activation?"
        require(bend.abs().max() > 1e-3 * out.abs().max(), linear)
        one_sided = f"{name} lies between {out.min():.2g} and {out.max():.2g}. Is there an activation after its layer?"
        require(out.min() < -1 and out.max() > 1, one_sided)
        require(out.requires_grad, f"no gradient of {name} reaches the parameters: is there a detach or a no_grad?")
        parameters = {f"the {what}": inputs} | dict(model.named_parameters())
        gradients = torch.autograd.grad(out.square().sum(), list(parameters.values()), allow_unused=True)
        for (layer, parameter), gradient in zip(parameters.items(), gradients):
            before = parameter.detach().clone()
            with torch.no_grad():
                parameter.add_(0.1)
                moved = not close(function(inputs, y), out, 1e-3, 1e-3)
                parameter.copy_(before)
            reached = gradient is not None and gradient.any()
            require(reached or not moved, f"{name} depends on {layer}, but no gradient reaches it: what is detached?")


def encoding(label=lambda y: F.one_hot(y, 10), activation=torch.relu):
    """The course's model with another encoding of the label, or another activation, in encode."""

    def encode(self, x, y):
        h = activation(self.encoder[0](torch.cat([x.flatten(1), label(y)], dim=1)))
        return self.mu(h), self.logvar(h)

    return type("ConditionalVAE", (models.ConditionalVAE,), {"encode": encode})


def elbo_of(terms=lambda reconstruction, kl: (reconstruction, kl), sample=reparameterize, label=lambda y: y):
    """The course's model with an elbo that changes its terms, the sample that it decodes, or the label."""

    def elbo(self, x, y):
        mu, logvar = self.encode(x, y)
        logits = self.decode_logits(sample(mu, logvar), label(y))
        return terms(bernoulli_nll(logits, x), gaussian_kl(mu, logvar))

    return type("ConditionalVAE", (models.ConditionalVAE,), {"elbo": elbo})


conditional.add_mistakes(
    no_label=("the encoder does not use the label.", encoding(lambda y: 0 * F.one_hot(y, 10))),
    one_number=(
        "the label enters as one number, as if a 9 were nine times a 1. Make it one-hot.",
        encoding(lambda y: y[:, None].expand(-1, 10)),
    ),
    counts_classes=(
        "the number of classes is taken from the labels of the batch: without a 9 among them it is too small.",
        encoding(F.one_hot),
    ),
    linear_encoder=(
        "the encoder has no activation: two linear layers without one between them are one linear layer.",
        encoding(activation=lambda h: h),
    ),
    decodes_the_mean=("elbo decodes the mean; a sample is wanted.", elbo_of(sample=lambda mu, logvar: mu)),
    variance_for_sigma=(
        "elbo multiplies the noise by the variance, where the standard deviation belongs.",
        elbo_of(sample=lambda mu, logvar: reparameterize(mu, 2 * logvar)),
    ),
    detached_z=(
        "elbo detaches the latent code: no gradient of the reconstruction reaches the encoder.",
        elbo_of(sample=lambda mu, logvar: reparameterize(mu, logvar).detach()),
    ),
    kl_first=(
        "elbo returns its terms in the wrong order: reconstruction first.",
        elbo_of(lambda reconstruction, kl: (kl, reconstruction)),
    ),
    sum_in_the_first=(
        "the first term of elbo contains the KL as well; return the two separately.",
        elbo_of(lambda reconstruction, kl: (reconstruction + kl, kl)),
    ),
    negative_kl=("kl has the wrong sign: a divergence is never negative.", elbo_of(lambda r, kl: (r, -kl))),
    means=(
        "elbo averages over the batch; one number for each image is wanted.",
        elbo_of(lambda reconstruction, kl: (reconstruction.mean(), kl.mean())),
    ),
    one_for_all=(
        "elbo gives every image the mean reconstruction of its batch.",
        elbo_of(lambda reconstruction, kl: (reconstruction.mean().expand(len(kl)), kl)),
    ),
    labels_of_others=("elbo decodes each image with the label of another.", elbo_of(label=lambda y: y.flip(0))),
)


@conditional.mistake("elbo samples in training mode only. In evaluation mode, too, the ELBO needs a sample.")
class SamplesInTrainingOnly(models.ConditionalVAE):
    def elbo(self, x, y):
        mu, logvar = self.encode(x, y)
        z = reparameterize(mu, logvar) if self.training else mu
        return bernoulli_nll(self.decode_logits(z, y), x), gaussian_kl(mu, logvar)


@conditional.mistake("decode_logits applies a sigmoid. decode does, and so does the loss.")
class SigmoidInTheDecoder(models.ConditionalVAE):
    def decode_logits(self, z, y):
        return super().decode_logits(z, y).sigmoid()
