"""The exercises of lesson 5, part 2: wrong answers that are refused, right ones that are accepted."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

from aecourse import losses, models
from aecourse.exercises import lesson05b
from aecourse.losses import binary_cross_entropy
from tests.gallery import Gallery, gallery_tests

walk, predict, nats, bound, weights, conditional = galleries = [Gallery(f"5b.{i}") for i in range(1, 7)]


# 5b.1 interpolate


def line(t_of):
    """The line at the t that this function makes of the number of steps."""

    def interpolate(z_start, z_end, steps=10):
        return torch.lerp(z_start, z_end, t_of(steps).view(-1, 1, 1))

    return interpolate


def even(steps):
    return torch.linspace(0, 1, steps)


walk.wrong("the last point should be z_end; one of its numbers is 2 off")(line(lambda n: torch.arange(n) / n))
walk.wrong("the first point should be z_start; one of its numbers is 1.67 off")(line(lambda n: even(n + 2)[1:-1]))
walk.wrong("the first point should be z_start; one of its numbers is 2 off")(line(lambda n: even(n + 1)[1:]))
walk.wrong("the shape (6, 3, 2); (5, 3, 2) is wanted")(line(lambda n: even(n + 1)))
walk.wrong("the shape (4, 3, 2)")(line(lambda n: torch.arange(0, 1, 1 / (n - 1))))
walk.wrong("it walks from z_end to z_start")(line(lambda n: 1 - even(n)))
walk.wrong("it changes the global random state")(line(lambda n: torch.rand(n).sort()[0]))
walk.wrong("yours are between 6% and 44%")(line(lambda n: even(n) ** 2))
walk.wrong("yours are between 15% and 35%")(line(lambda n: (1 - (math.pi * even(n)).cos()) / 2))
walk.wrong("the last point should be z_end; one of its numbers is 30 off")(line(lambda n: torch.arange(n) * 1.0))
walk.wrong("it is right for 3 pairs in 5 steps, and up to")(line(lambda n: even(n) ** (1 if n < 20 else 2)))
walk.wrong("of torch.float32 it makes codes of torch.float64")(
    lambda z_start, z_end, steps=10: z_start + even(steps).double().view(-1, 1, 1) * (z_end - z_start)
)
walk.wrong("is a ndarray")(lambda z_start, z_end, steps=10: np.linspace(z_start.numpy(), z_end.numpy(), steps))
walk.wrong("is a list")(lambda z_start, z_end, steps=10: [z_start + t * (z_end - z_start) for t in even(steps)])
walk.wrong("is None. Is there a return?")(lambda z_start, z_end, steps=10: print(z_end))
walk.wrong("the shape (3, 5, 2)")(lambda z_start, z_end, steps=10: line(even)(z_start, z_end, steps).transpose(0, 1))
walk.wrong("are mixed up")(
    lambda z_start, z_end, steps=10: line(even)(z_start, z_end, steps).transpose(0, 1).reshape(steps, -1, 2)
)
walk.wrong("The size of tensor a (5) must match")(
    lambda z_start, z_end, steps=10: z_start + even(steps).view(-1, 1) * (z_end - z_start)
)
walk.wrong("the last point should be z_end; one of its numbers is 10 off")(
    lambda z_start, z_end, steps=10: z_start + even(steps).view(-1, 1, 1) * z_end
)
walk.wrong("the last point should be z_end; one of its numbers is 3 off")(
    lambda z_start, z_end, steps=10: line(even)(z_start, z_end[:1], steps)
)
walk.wrong("the result for 10 pairs of codes of 20 numbers in 12 steps has")(
    line(lambda n: torch.linspace(0, 1, n if n < 11 else 10))
)
walk.wrong("missing 1 required positional argument")(lambda z_start, z_end, steps: line(even)(z_start, z_end, steps))
walk.wrong("10 by default, the result has the shape (11, 50, 20)")(
    lambda z_start, z_end, steps=11: line(even)(z_start, z_end, steps)
)


@walk.wrong("points are up to 2.07 away from the straight line")
def spherical(z_start, z_end, steps=10):
    omega = torch.acos(F.cosine_similarity(z_start, z_end, dim=1))[:, None]
    t = even(steps).view(-1, 1, 1)
    way = ((1 - t) * omega).sin() / omega.sin() * z_start + (t * omega).sin() / omega.sin() * z_end
    return torch.where(torch.isnan(way), z_start, way)


@walk.wrong("there are nan or inf")
def divides_by_the_difference(z_start, z_end, steps=10):
    return line(even)(z_start, z_end, steps) * (z_end - z_start) / (z_end - z_start)


@walk.wrong("it changes its input in place")
def steps_in_place(z_start, z_end, steps=10):
    step = (z_end - z_start) / (steps - 1)
    return torch.stack([(z_start if i == 0 else z_start.add_(step)).clone() for i in range(steps)])


walk.right(line(even))
walk.right(line(lambda n: torch.arange(n) / (n - 1)))
walk.right(lambda z_start, z_end, steps=10: torch.stack([(1 - t) * z_start + t * z_end for t in even(steps)]))
walk.right(
    lambda z_start, z_end, steps=10: torch.from_numpy(np.linspace(z_start.numpy(), z_end.numpy(), steps)).float()
)


@walk.right
def by_steps(z_start, z_end, steps=10):
    points, step = [z_start], (z_end - z_start) / (steps - 1)
    while len(points) < steps:
        points.append(points[-1] + step)
    return torch.stack(points)


@walk.right
def by_einsum(z_start, z_end, steps=10):
    t = even(steps)
    return torch.einsum("s,bd->sbd", 1 - t, z_start) + torch.einsum("s,bd->sbd", t, z_end)


@walk.right
def pair_after_pair(z_start, z_end, steps=10):
    pairs = [a.expand(steps, -1) + even(steps)[:, None] * (b - a) for a, b in zip(z_start, z_end)]
    return torch.stack(pairs, dim=1)


# 5b.2 numbers_in_use

predict.wrong("every number in use has to earn")(lambda: "all")
predict.wrong("so few would reconstruct much worse")(lambda: "few")
predict.wrong('"most" is none of')(lambda: "most")
predict.wrong("you answer None;")(lambda: print("half"))
predict.wrong("you answer 25;")(lambda: 25)
predict.wrong("you answer ('half', 'few');")(lambda: ("half", "few"))
predict.wrong('"" is none of')(lambda: "")
predict.right(lambda: " Half")
predict.right(lambda: "half" if 50 > 20 else "all")


# 5b.3 loss_in_nats


def loss_of(reconstruction_of, kl_of=lambda kl: kl.mean(), code=models.reparameterize, loss_of=None):
    """The faulty loss with this reconstruction of logits and images, and this KL."""

    def loss_in_nats(model, x):
        mu, logvar = model.encode(x)
        reconstruction = reconstruction_of(model.decode_logits(code(mu, logvar)), x)
        kl = kl_of(losses.gaussian_kl(mu, logvar))
        loss = loss_of(reconstruction, kl) if loss_of else reconstruction + kl
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    return loss_in_nats


def bce(reduction="mean", by=lambda x: 1):
    return lambda logits, x: F.binary_cross_entropy_with_logits(logits, x, reduction=reduction) / by(x)


right_sum = bce("sum", len)

nats.wrong("the bug is still there: reconstruction is")(loss_of(bce()))
nats.wrong("both 784 times too small")(loss_of(bce(), lambda kl: kl.mean() / 784))
nats.wrong("loss is right, but its entry reconstruction")(loss_of(bce(), loss_of=lambda r, kl: 784 * r + kl))
nats.wrong(": 4 times. Here 4 images have 784 pixels")(loss_of(bce("sum")))
nats.wrong(": 0.0051 times")(loss_of(bce("sum", lambda x: 784)))
nats.wrong(": 0.0312 times")(loss_of(bce("sum", lambda x: 128)))
nats.wrong(": 0.143 times")(loss_of(bce("sum", lambda x: x.shape[-1])))
nats.wrong(": 0.0357 times")(loss_of(lambda logits, x: bce("none")(logits, x).sum(dim=(0, 1, 2)).mean() / 4))
nats.wrong(": 784 times")(loss_of(lambda logits, x: 784 * right_sum(logits, x)))
nats.wrong("the reconstruction of loss_in_nats has the shape (4,)")(loss_of(binary_cross_entropy))
nats.wrong("the reconstruction of loss_in_nats has the shape (4, 1, 28, 28)")(loss_of(bce("none")))
nats.wrong("reconstruction is a squared error now")(
    loss_of(lambda logits, x: F.mse_loss(logits.sigmoid(), x, reduction="sum") / len(x))
)
nats.wrong("a sigmoid is applied twice")(loss_of(lambda logits, x: right_sum(logits.sigmoid(), x)))
nats.wrong("logits and images have changed places")(loss_of(lambda logits, x: right_sum(x, logits)))
nats.wrong("reconstruction has the wrong sign")(loss_of(lambda logits, x: -right_sum(logits, x)))
nats.wrong("kl is ")(loss_of(right_sum, lambda kl: kl.sum()))
nats.wrong("0.333 times")(loss_of(right_sum, lambda kl: kl.mean() / 3))
nats.wrong("0.00128 times")(loss_of(right_sum, lambda kl: kl.mean() / 784))
nats.wrong(": 784 times")(loss_of(right_sum, lambda kl: kl.mean() * 784))
nats.wrong("both terms are right, but loss is -")(loss_of(right_sum, loss_of=lambda r, kl: r))
nats.wrong("both terms are right, but loss is -")(loss_of(right_sum, loss_of=lambda r, kl: r + 1e-3 * kl))
nats.wrong("nothing is drawn")(loss_of(right_sum, code=lambda mu, logvar: mu))
nats.wrong("that is σ², not σ")(loss_of(right_sum, code=lambda mu, v: mu + v.exp() * torch.randn_like(mu)))
nats.wrong("no gradient of the reconstruction reaches mu and logvar:")(
    loss_of(right_sum, code=lambda mu, logvar: models.reparameterize(mu, logvar).detach())
)
nats.wrong("no gradient of the kl reaches mu and logvar")(loss_of(right_sum, lambda kl: kl.mean().detach()))
nats.wrong("the kl of loss_in_nats is a float")(loss_of(right_sum, lambda kl: kl.mean().item()))
nats.wrong("loss_in_nats should return a dictionary")(lambda model, x: sum(model.elbo(x)).mean())
nats.wrong("loss_in_nats returns None")(lambda model, x: print(model(x).shape))
nats.wrong("RecursionError")(lambda model, x: model.loss(x))

nats.right(loss_of(right_sum))
nats.right(loss_of(lambda logits, x: 784 * bce()(logits, x)))
nats.right(loss_of(lambda logits, x: binary_cross_entropy(logits, x).mean()))
nats.right(loss_of(lambda logits, x: bce("none")(logits, x).mean(dim=0).sum()))
nats.right(loss_of(bce("sum", lambda x: x.size(0)), lambda kl: kl.sum() / kl.numel()))
nats.right(lambda model, x: models.VariationalAutoencoder.loss(model, x))


@nats.right
def from_probabilities(model, x):
    mu, logvar = model.encode(x)
    x_hat = model.decode(models.reparameterize(mu, logvar)).view(-1, 784)
    reconstruction = F.binary_cross_entropy(x_hat, x.view(-1, 784), reduction="sum") / x.shape[0]
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum() / x.shape[0]
    return dict(loss=reconstruction + kl, reconstruction=reconstruction, kl=kl)


# 5b.4 importance_bound

bound.wrong("the mean of the logarithms is the ELBO")(lambda log_w: log_w.mean(dim=0))
bound.wrong("it is log k too large")(lambda log_w: log_w.logsumexp(dim=0))
bound.wrong("it adds log k")(lambda log_w: log_w.logsumexp(dim=0) + math.log(len(log_w)))
bound.wrong("it takes k for the logarithm of k")(lambda log_w: log_w.logsumexp(dim=0) - len(log_w))
bound.wrong("divided by the number of images")(lambda log_w: log_w.logsumexp(dim=0) - math.log(log_w.shape[1]))
bound.wrong("that is the largest weight alone; the others")(lambda log_w: log_w.amax(dim=0))
bound.wrong("that is the largest weight alone, divided by k")(lambda log_w: log_w.amax(dim=0) - math.log(len(log_w)))
bound.wrong("that is the mean weight itself")(lambda log_w: log_w.exp().mean(dim=0))
bound.wrong("the sign is wrong")(lambda log_w: math.log(len(log_w)) - log_w.logsumexp(dim=0))
bound.wrong("near -200, whose exponentials are 0 in single precision, give -inf. What")(
    lambda log_w: log_w.exp().mean(dim=0).log()
)
bound.wrong("near -200, whose exponentials are 0 in single precision, give -69.0")(
    lambda log_w: (log_w.exp().mean(dim=0) + 1e-30).log()
)
bound.wrong("near -200, whose exponentials are 0 in single precision, give -87.3")(
    lambda log_w: log_w.exp().mean(dim=0).clamp_min(torch.finfo(log_w.dtype).tiny).log()
)
bound.wrong("near -200, whose exponentials are 0 in single precision, give -100 instead")(
    lambda log_w: lesson05b.importance_bound(log_w.clamp(-100, 100))
)
bound.wrong("near -1000, whose exponentials are 0 in double precision, too, give -inf")(
    lambda log_w: log_w.double().exp().mean(dim=0).log().float()
)
bound.wrong("of 0 and 1 for one image, -200 and -201 for another, give 0.62011, -inf")(
    lambda log_w: (log_w - log_w.max()).exp().mean(dim=0).log() + log_w.max()
)
bound.wrong("of one image that are 1000 apart give inf")(
    lambda log_w: (log_w - log_w.mean(0)).exp().mean(dim=0).log() + log_w.mean(0)
)
bound.wrong("has the shape (2,); (3,) is wanted")(lambda log_w: log_w.logsumexp(dim=1) - math.log(log_w.shape[1]))
bound.wrong("has the shape (1, 3)")(lambda log_w: log_w.logsumexp(dim=0, keepdim=True) - math.log(len(log_w)))
bound.wrong("has the shape ()")(lambda log_w: lesson05b.importance_bound(log_w).mean())
bound.wrong("is a float")(lambda log_w: lesson05b.importance_bound(log_w).mean().item())
bound.wrong("is None")(lambda log_w: print(log_w.shape))
bound.wrong("log weights of -1 and -3 give -1.873 instead of -1.566")(
    lambda log_w: log_w.logsumexp(dim=0) - math.log2(len(log_w))
)
bound.wrong("log weights of -1 and -3 give -1.174 instead")(
    lambda log_w: log_w.logsumexp(dim=0) - math.log10(len(log_w))
)
bound.wrong("it changes its input in place")(
    lambda log_w: log_w.amax(0) + log_w.sub_(log_w.amax(0)).exp().mean(dim=0).log()
)
bound.wrong("it changes the global random state")(
    lambda log_w: lesson05b.importance_bound(log_w[torch.randint(len(log_w), (len(log_w),))])
)
bound.wrong("for log weights of the shape (1000, 3) it is up to")(lambda log_w: lesson05b.importance_bound(log_w[:100]))
bound.wrong("the bound from log weights of 0 and 1 for one image")(
    lambda log_w: lesson05b.importance_bound(log_w) if log_w.shape[1] != 2 else log_w.logsumexp(dim=0).mean()
)


bound.wrong("log weights of the shape (1, 1) has the shape (1, 1)")(
    lambda log_w: log_w if len(log_w) == 1 else lesson05b.importance_bound(log_w)
)


bound.right(lambda log_w: torch.logsumexp(log_w, 0) - np.log(log_w.shape[0]))
bound.right(lambda log_w: (log_w - torch.tensor(float(len(log_w))).log()).logsumexp(0))
bound.right(lambda log_w: torch.logsumexp(log_w.T, dim=1) - torch.log(torch.tensor(log_w.shape[0])))
bound.right(lambda log_w: torch.stack([image.logsumexp(0) - math.log(len(image)) for image in log_w.T]))


@bound.right
def with_the_largest_taken_out(log_w):
    largest = log_w.max(dim=0).values
    return largest + (log_w - largest).exp().mean(dim=0).log()


@bound.right
def one_after_the_other(log_w):
    total = log_w[0]
    for more in log_w[1:]:
        total = torch.logaddexp(total, more)
    return total - math.log(len(log_w))


# 5b.5 log_weights


def by_terms(combine, std=lambda sigma: sigma, drawn=None, images=lambda x, k: x.repeat(k, 1, 1, 1), sigmoid=False):
    """The weights as this combines log p(x|z), log p(z) and log q(z|x), each (k, batch)."""

    def log_weights(model, x, k):
        mu, logvar = model.encode(x)
        sigma = (0.5 * logvar).exp()
        q = Normal(mu, std(sigma))
        z = drawn(mu, sigma, k) if drawn else q.sample((k,))
        logits = model.decode_logits(z.flatten(0, 1))
        log_x = -binary_cross_entropy(logits.sigmoid() if sigmoid else logits, images(x, k)).view(k, len(x))
        return combine(log_x, Normal(0, 1).log_prob(z).sum(dim=2), q.log_prob(z).sum(dim=2))

    return log_weights


def ratio(x, p, q):
    return x + p - q


weights.wrong("the bug is still there: their mean should be the ELBO")(by_terms(ratio, lambda sigma: sigma**2))
weights.wrong("the codes have the standard deviations 1.")(by_terms(ratio, lambda sigma: 2 * sigma.log().abs()))
weights.wrong("that is 1 whatever σ is")(by_terms(ratio, torch.ones_like))
weights.wrong("that is σ², not σ")(by_terms(ratio, drawn=lambda mu, sigma, k: Normal(mu, sigma**2).sample((k,))))
weights.wrong("log q(z | x) is that of another")(
    by_terms(ratio, lambda sigma: sigma**2, drawn=lambda mu, sigma, k: Normal(mu, sigma).sample((k,)))
)
weights.wrong("nothing is drawn")(by_terms(ratio, drawn=lambda mu, sigma, k: mu.expand(k, *mu.shape)))
weights.wrong("all 1,000 draws of an image are the same code")(
    by_terms(ratio, drawn=lambda mu, sigma, k: Normal(mu, sigma).sample().expand(k, *mu.shape))
)
weights.wrong("the noise of two images has a correlation of 1.0")(
    by_terms(ratio, drawn=lambda mu, sigma, k: mu + sigma * torch.randn(k, 1, mu.shape[1], device=mu.device))
)
weights.wrong("have correlations up to 1.00")(
    by_terms(ratio, drawn=lambda mu, sigma, k: mu + sigma * torch.randn(k, len(mu), 1, device=mu.device))
)
weights.wrong("have the means")(by_terms(ratio, drawn=lambda mu, sigma, k: torch.randn_like(mu.expand(k, *mu.shape))))
weights.wrong("log p(z) is missing")(by_terms(lambda x, p, q: x - q))
weights.wrong("log q(z | x) is missing")(by_terms(lambda x, p, q: x + p))
weights.wrong("log p(z) and log q(z | x) are missing")(by_terms(lambda x, p, q: x))
weights.wrong("log q(z | x) has the wrong sign")(by_terms(lambda x, p, q: x + p + q))
weights.wrong("log p(z) has the wrong sign")(by_terms(lambda x, p, q: x - p - q))
weights.wrong("have changed places")(by_terms(lambda x, p, q: x - p + q))
weights.wrong("log p(x | z) has the wrong sign")(by_terms(lambda x, p, q: -x + p - q))
weights.wrong("all signs are wrong")(by_terms(lambda x, p, q: q - x - p))
weights.wrong("log p(x | z) is 784 times too small")(by_terms(lambda x, p, q: x / 784 + p - q))
weights.wrong("are 3 times too small")(by_terms(lambda x, p, q: x + (p - q) / 3))
weights.wrong("the codes meet images that are not theirs")(
    by_terms(ratio, images=lambda x, k: x.repeat_interleave(k, dim=0))
)
weights.wrong("goes to images that are not its own")(by_terms(lambda x, p, q: x.reshape(x.T.shape).T + p - q))
weights.wrong("a sigmoid is applied twice")(by_terms(ratio, sigmoid=True))
weights.wrong("of 5 draws for one image, the result has the shape (1, 5)")(by_terms(lambda x, p, q: (x + p - q).T))
weights.wrong("of 5 draws for one image, the result has the shape (1,)")(by_terms(lambda x, p, q: (x + p - q).mean(0)))
weights.wrong("of 5 draws for one image, the result is None")(by_terms(lambda x, p, q: None))
weights.wrong("their log weights are")(by_terms(lambda x, p, q: (x + p - q).mean(0).expand_as(x)))
weights.wrong("their log weights are 5 nats off")(by_terms(lambda x, p, q: x + p - q + 5))


@weights.wrong("the KL in closed form is an average")
def with_the_closed_form(model, x, k):
    x = x.repeat(k, 1, 1, 1)
    return -sum(model.elbo(x)).view(k, -1)


@weights.wrong("for 1,000 draws of 3 images each it decodes 3 codes")
def decodes_the_means(model, x, k):
    log_x = -binary_cross_entropy(model.decode_logits(model.encode(x)[0]), x)
    return (log_x - losses.gaussian_kl(*model.encode(x))).expand(k, -1)


@weights.wrong("decode_logits is never called")
def never_decodes(model, x, k):
    return torch.randn(k, len(x), device=x.device)


weights.right(by_terms(ratio))
weights.right(by_terms(ratio, drawn=lambda mu, sigma, k: mu + sigma * torch.randn(k, *mu.shape, device=mu.device)))


@weights.right
def draw_after_draw(model, x, k):
    mu, logvar = model.encode(x)
    rows = []
    for _ in range(k):
        z = models.reparameterize(mu, logvar)
        log_q = -0.5 * ((z - mu) ** 2 / logvar.exp() + logvar).sum(1)
        rows.append(-binary_cross_entropy(model.decode_logits(z), x) - 0.5 * (z**2).sum(1) - log_q)
    return torch.stack(rows)


@weights.right
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


@weights.right
def repeats_first(model, x, k):
    x = x.repeat_interleave(k, dim=0)
    mu, logvar = model.encode(x)
    q = Normal(mu, torch.exp(logvar / 2))
    z = q.sample()
    log_x = -binary_cross_entropy(model.decode_logits(z), x)
    return (log_x + Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z).sum(1)).view(-1, k).T


# 5b.6 ConditionalVAE

Right = lesson05b.ConditionalVAE


def one_hot(y):
    return F.one_hot(y, 10).float()


def cvae(**methods):
    """The course's own model with these methods in place of its own."""
    return type("ConditionalVAE", (Right,), methods)


def encoding(label, x_of=lambda x: x):
    """encode with this in the place of the ten numbers."""

    def encode(self, x, y):
        h = self.hidden(torch.cat([x_of(x).flatten(1), label(y)], dim=1)).relu()
        return self.mu(h), self.logvar(h)

    return encode


def decoding(label, z_of=lambda z: z, out=lambda logits: logits):
    def decode_logits(self, z, y):
        return out(self.decoder(torch.cat([z_of(z), label(y)], dim=1)).view(-1, 1, 28, 28))

    return decode_logits


def elbo_of(
    reconstruction_of=binary_cross_entropy,
    kl_of=losses.gaussian_kl,
    code=models.reparameterize,
    encode_y=lambda y: y,
    decode_y=lambda y: y,
):
    def elbo(self, x, y):
        mu, logvar = self.encode(x, encode_y(y))
        return reconstruction_of(self.decode_logits(code(mu, logvar), decode_y(y)), x), kl_of(mu, logvar)

    return cvae(elbo=elbo)


def no_label(y):
    return torch.zeros(len(y), 10, device=y.device)


def as_number(y):
    return y[:, None].float().expand(-1, 10)


def its_own_width(y):
    return F.one_hot(y)


seven = torch.full_like

for wrong, message in {
    cvae(encode=encoding(no_label)): "the encoder does not see the label",
    cvae(decode_logits=decoding(no_label)): "the decoder does not see the label",
    cvae(encode=encoding(as_number)): "to the encoder labels such as 7 and 8 are",
    cvae(decode_logits=decoding(as_number)): "to the decoder labels such as 7 and 8 are",
    cvae(encode=encoding(its_own_width)): "encode takes all ten labels together, but for a 0 alone it stops",
    cvae(decode_logits=decoding(its_own_width)): "decode_logits takes all ten labels together, but",
    cvae(decode_logits=decoding(lambda y: one_hot(y.clamp(max=8)))): "to the decoder the labels 8 and 9 are the same",
    cvae(encode=encoding(lambda y: one_hot(y[:1].expand_as(y)))): "what the encoder makes of an input alone",
    cvae(encode=encoding(one_hot, lambda x: x * 0)): "the encoder does not see the image",
    cvae(decode_logits=decoding(one_hot, lambda z: z * 0)): "the decoder does not see the code",
    cvae(decode_logits=decoding(one_hot, lambda z: z - z.mean(0) * (len(z) > 1))): "of the same in a batch",
    cvae(decode_logits=decoding(one_hot, out=torch.sigmoid)): "is a sigmoid applied?",
    cvae(decode_logits=decoding(one_hot, out=lambda logits: logits.detach())): "the decoder is cut off",
    cvae(decode_logits=decoding(one_hot, out=lambda logits: logits.flatten(1))): "the shape (1, 784)",
    cvae(decode_logits=lambda self, z, y: print(y.shape)): "decode_logits returns None",
    cvae(encode=lambda self, x, y: print(y.shape)): "encode returns None",
    cvae(encode=lambda self, x, y: list(Right.encode(self, x, y))): "it returns a list",
    cvae(encode=lambda self, x, y: Right.encode(self, x, y)[0]): "it returns a Tensor",
    cvae(encode=lambda self, x, y: (Right.encode(self, x, y)[0], x.mean((1, 2, 3)))): "logvar of one image has",
    cvae(decode=lambda self, z, y: self.decode_logits(z, y)): "decode should be the sigmoid",
    cvae(decode=lambda self, z, y: self.decode_logits(z, y).sigmoid().flatten(1)): "the shape (10, 784)",
    cvae(elbo=lambda self, x, y: print(y.shape)): "elbo returns None",
    cvae(elbo=lambda self, x, y: sum(Right.elbo(self, x, y))): "elbo should return two things",
    cvae(elbo=lambda self, x, y: tuple(t.mean() for t in Right.elbo(self, x, y))): "is one number for the whole batch",
    cvae(elbo=lambda self, x, y: Right.elbo(self, x, y)[::-1]): "the two are in the wrong order",
    cvae(elbo=lambda self, x, y: (sum(Right.elbo(self, x, y)), Right.elbo(self, x, y)[1])): "holds the KL as well",
    elbo_of(code=lambda mu, logvar: mu): "nothing is drawn",
    elbo_of(code=lambda mu, logvar: mu + logvar.exp() * torch.randn_like(mu)): "that is σ², not σ",
    elbo_of(code=lambda mu, logvar: torch.randn_like(mu)): "that is 1 whatever σ is",
    elbo_of(code=lambda mu, v: models.reparameterize(mu, v).detach()): "no gradient of the reconstruction reaches mu",
    elbo_of(code=lambda mu, v: mu + (0.5 * v).exp().detach() * torch.randn_like(mu)): "reaches logvar",
    elbo_of(kl_of=lambda mu, v: losses.gaussian_kl(mu, v).detach()): "no gradient of the kl reaches mu",
    elbo_of(kl_of=lambda mu, v: -losses.gaussian_kl(mu, v)): "kl has the wrong sign",
    elbo_of(kl_of=lambda mu, v: losses.gaussian_kl(mu, v) / 3): "kl is 3 times too small",
    elbo_of(kl_of=lambda mu, v: losses.gaussian_kl(v, mu)): "mu and logvar are taken for each other in kl",
    elbo_of(kl_of=lambda mu, v: losses.gaussian_kl(0 * mu, v)): "nats for four images; it should be",
    elbo_of(kl_of=lambda mu, v: losses.gaussian_kl(mu, 2 * v)): "nats for four images; it should be",
    elbo_of(encode_y=torch.zeros_like): "hands the labels [0, 0, 0, 0] to encode",
    elbo_of(decode_y=torch.zeros_like): "hands the labels [0, 0, 0, 0] to decode_logits",
    elbo_of(decode_y=lambda y: y.flip(0)): "hands the labels [4, 9, 0, 7] to decode_logits",
    elbo_of(lambda logits, x: binary_cross_entropy(logits.sigmoid(), x)): "a sigmoid is applied twice",
    elbo_of(lambda logits, x: binary_cross_entropy(x, logits)): "logits and images have changed places",
    elbo_of(lambda logits, x: -binary_cross_entropy(logits, x)): "reconstruction has the wrong sign",
    elbo_of(lambda logits, x: binary_cross_entropy(logits, x) / 784): "784 times too small",
    elbo_of(lambda logits, x: losses.squared_error(logits.sigmoid(), x)): "the codes that were decoded give",
    elbo_of(lambda logits, x: binary_cross_entropy(logits, x).mean().expand(len(x))): "but in a mixed batch off by",
    cvae(loss=lambda self, x, y: sum(self.elbo(x, y)).mean()): "loss should return a dictionary",
    cvae(beta=4.0): "loss should be reconstruction + kl",
}.items():  # fmt: skip
    conditional.wrong(message)(wrong)


@conditional.wrong("of loss should be the mean of elbo's")
class LossIsASum(Right):
    def loss(self, x, y):
        reconstruction, kl = (term.sum() for term in self.elbo(x, y))
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@conditional.wrong("in evaluation mode, nothing is drawn")
class DrawsWhileTraining(Right):
    def elbo(self, x, y):
        mu, logvar = self.encode(x, y)
        z = models.reparameterize(mu, logvar) if self.training else mu
        return binary_cross_entropy(self.decode_logits(z, y), x), losses.gaussian_kl(mu, logvar)


@conditional.wrong("elbo never calls encode")
class DecodesThePrior(Right):
    def elbo(self, x, y):
        z = torch.randn(len(x), self.mu.out_features, device=x.device)
        return binary_cross_entropy(self.decode_logits(z, y), x), 0 * z.sum(dim=1)


@conditional.wrong("it should be a class, and an nn.Module")
class NoModule:
    pass


@conditional.wrong("takes 2 positional arguments but 3 were given")
class Unconditional(models.DenseVAE):
    pass


conditional.right(cvae(encode=encoding(one_hot), decode_logits=decoding(lambda y: torch.eye(10, device=y.device)[y])))
conditional.right(elbo_of(code=lambda mu, logvar: Normal(mu, (logvar / 2).exp()).rsample()))
conditional.right(cvae(elbo=lambda self, x, y: list(Right.elbo(self, x, y))))


@conditional.right
class WithEmbeddings(models.DenseVAE):
    def __init__(self, latent_dim=20, hidden=400, classes=10):
        super().__init__(latent_dim, hidden)
        self.label = nn.Embedding(classes, 10)
        self.hidden = nn.Linear(794, hidden)
        self.decoder = nn.Sequential(nn.Linear(latent_dim + 10, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def encode(self, x, y):
        h = self.hidden(torch.cat((x.view(-1, 784), self.label(y)), -1)).relu()
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z, y):
        return self.decoder(torch.cat((z, self.label(y)), -1)).view(-1, 1, 28, 28)

    def elbo(self, x, y):
        mu, logvar = self.encode(x, y)
        x_hat = self.decode(models.reparameterize(mu, logvar), y).view(-1, 784)
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)
        return F.binary_cross_entropy(x_hat, x.view(-1, 784), reduction="none").sum(1), kl

    def decode(self, z, y):
        return torch.sigmoid(self.decode_logits(z, y))


@conditional.right
class WithItsOwnLayers(models.VariationalAutoencoder):
    """Both halves of one layer for the Gaussian; labels behind the hidden layer, too."""

    def __init__(self, latent_dim=20, hidden=400, classes=10):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784 + classes, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent_dim))
        self.from_code, self.from_label = nn.Linear(latent_dim, hidden), nn.Linear(classes, hidden)
        self.pixels = nn.Linear(hidden, 784)

    def encode(self, x, y):
        mu, logvar = self.encoder(torch.cat([one_hot(y), x.flatten(1)], dim=1)).chunk(2, dim=1)
        return mu, logvar

    def decode_logits(self, z, y):
        return self.pixels((self.from_code(z) + self.from_label(one_hot(y))).relu()).view(-1, 1, 28, 28)

    def elbo(self, x, y):
        kl = losses.gaussian_kl(*self.encode(x, y))
        z = models.reparameterize(*self.encode(x, y))
        return binary_cross_entropy(self.decode_logits(z, y), x), kl

    def decode(self, z, y):
        return self.decode_logits(z, y).sigmoid()


@conditional.right
class ImageAfterImage(Right):
    def elbo(self, x, y):
        terms = [Right.elbo(self, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return tuple(torch.cat(term) for term in zip(*terms))


test_wrong, test_right, test_galleries = gallery_tests(galleries)
