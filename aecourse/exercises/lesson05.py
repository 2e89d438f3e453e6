"""Checks of lesson 5."""

import torch
from torch import nn

from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_tensor
from aecourse.losses import binary_cross_entropy, gaussian_kl
from aecourse.models import VariationalAutoencoder, reparameterize
from aecourse.training import default_device

_BATCHES = (1, "one image"), (3, "three images")
_WIDTHS = 3.0, 0.5, 0.01  # σ of the three numbers of a code; a logvar that is clamped at ±5 shows


def _listed(numbers, form=".3g"):
    return ", ".join(f"{number:{form}}" for number in numbers.tolist())


def _refuse_mistakes(value, mistakes):
    """Refuse a value that equals that of a known mistake, with its message."""
    for message, wrong in mistakes.items():
        require(not close(value, wrong), message)


def _require_drawn(z, mu, logvar, where=""):
    """Refuse codes that are not drawn independently from N(mu, exp(logvar)).

    z: (n, 3), detached; mu, logvar: (3,), the same for all. None is refused by chance: the tolerances are
    8 standard errors for means and correlations, 11 for deviations and for the share within σ.
    """
    error = 1 / len(z) ** 0.5
    require(z.isfinite().all(), f"{where}codes are nan or inf: is there a root or a logarithm of a negative number?")
    require(not close(z, mu.expand_as(z)), f"{where}nothing is drawn: all codes are mu.")
    different = max(len(column.unique()) for column in z.T)
    require(
        different > 0.9 * len(z),
        f"{where}among {len(z):,} codes the number of different ones is {different:,}: "
        f"each image should draw its own, in every call.",
    )
    mean, std, sigma = z.mean(dim=0), z.std(dim=0), (0.5 * logvar).exp()
    noise = (z - mean) / std.clamp(min=1e-12)
    correlation = (noise.T @ noise / len(z)).fill_diagonal_(0).abs().max().item()
    require(
        correlation < 8 * error,
        f"{where}the numbers of a code have correlations up to {correlation:.2f}: each needs noise of its own.",
    )
    require(
        ((mean - mu).abs() <= 8 * error * std + 1e-6).all(),
        f"{where}codes around {_listed(mu, '.2f')} have the means {_listed(mean, '.2f')}. "
        f"Is mu added as it is, and the noise as often negative as positive?",
    )
    shown = f"{where}where σ is {_listed(sigma)} the codes have the standard deviations {_listed(std)}"
    for wrong, name in ((sigma.square(), "σ², not σ"), (1 / sigma, "1/σ"), (torch.ones(3), "1 whatever σ is")):
        require(not torch.allclose(std, wrong, rtol=8 * error), f"{shown}: that is {name}.")
    require(torch.allclose(std, sigma, rtol=8 * error), f"{shown}. What makes σ of logvar?")
    within = (noise.abs() < 1).float().mean().item()
    require(
        abs(within - 0.683) < 3 * error,
        f"{where}{within:.0%} of the codes lie within σ of mu; of Gaussian ones 68% do. Which noise is drawn?",
    )


@check(
    "5.1",
    reparameterize,
    hints=(
        "Take a number from N(0, 1), stretch it to the right width, and move it to the right place.",
        "logvar is the logarithm of the variance, σ². What is σ?",
        "torch.randn_like(mu) draws the numbers; (0.5 * logvar).exp() is σ.",
    ),
)
def _reparameterize(answer):
    for batch, images in _BATCHES:
        mu, logvar = inputs = torch.randn(2, batch, 2, device=default_device())
        before = inputs.clone()
        z = answer(mu, logvar)
        require_tensor(z, (batch, 2), f"the code of {images} with two numbers")
        require(z.dtype == mu.dtype, f"of {mu.dtype} it makes codes of {z.dtype}, which no decoder takes.")
        require(torch.equal(inputs, before), "it changes mu or logvar in place; the KL divergence still needs both.")
    mu = torch.tensor([2.0, -1.0, 0.0]).expand(5000, 3).clone().requires_grad_()
    logvar = (2 * torch.tensor(_WIDTHS).log()).expand(5000, 3).clone().requires_grad_()
    z = answer(mu, logvar)
    with torch.no_grad():
        undrawn = answer(mu, logvar).equal(mu) and not z.equal(mu)
        require(not undrawn, "inside torch.no_grad() nothing is drawn; tests of a model are made there.")
        _require_drawn(torch.cat([z, answer(mu, logvar)]), mu[0], logvar[0])
        again = []
        for _ in range(2):
            torch.default_generator.manual_seed(1)
            again.append(answer(mu[:3], logvar[:3]))
    require(torch.equal(*again), "after the same torch.manual_seed it draws other codes: is the noise PyTorch's?")
    gradients = torch.autograd.grad(z.sum(), (mu, logvar), allow_unused=True) if z.requires_grad else (None, None)
    missed = [name for name, g in zip(("mu", "logvar"), gradients) if g is None or not g.any()]
    require(
        len(missed) < 2,
        f"the codes are right, but they {'pass on gradients of 0' if z.requires_grad else 'are cut off'}: "
        f"neither mu nor logvar could learn. How is the code drawn?",
    )
    require(not missed, f"no gradient reaches {missed and missed[0]}. Is it detached, or replaced by a copy?")
    wanted = torch.ones_like(mu), (z - mu).detach() / 2
    for name, gradient, right in zip(("mu", "logvar"), gradients, wanted):
        require(close(gradient, right), f"the codes are right, but not their gradients for {name}: is a part detached?")


@check(
    "5.2",
    gaussian_kl,
    hints=(
        "For one number: ½ (mu² + σ² − 1 − log σ²).",
        "logvar is log σ². So σ² is its exponential, and log σ² needs no logarithm.",
        "Add up over the numbers of the code, dim=1. Every image keeps its own sum.",
    ),
)
def _gaussian_kl(answer):
    for batch, images in _BATCHES:
        out = call(answer, *torch.randn(2, batch, 4, device=default_device()))
        require(
            not (torch.is_tensor(out) and out.ndim == 0),
            "it returns one number for the whole batch; one per image is wanted.",
        )
        require_tensor(out, (batch,), f"the KL of {images} with codes of four numbers")
    zero = call(answer, torch.zeros(2, 3), torch.zeros(2, 3))[0].item()
    require(abs(zero) < float("inf"), f"at mu = 0, σ = 1 it is {zero}: what is divided by 0, or has no logarithm?")
    require(abs(zero) < 1e-5, f"at mu = 0, σ = 1 it should be 0; yours, for three numbers, is {zero:.3g}.")
    mu, sigma = torch.tensor([[0.0], [1.0], [0.0], [2.0]]), torch.tensor([[2.0], [1.0], [0.5], [3.0]])
    logvar = 2 * sigma.log()
    out, kl = call(answer, mu, logvar), gaussian_kl(mu, logvar)
    require(not close(out, -kl), "the sign is wrong: a divergence is never negative.")
    require(not close(out, 2 * kl), "it is twice too large: where is the ½?")
    require(not close(out, gaussian_kl(logvar, mu)), "mu and logvar are taken for each other.")
    require(
        not close(out, gaussian_kl(-mu / sigma, -logvar)),
        "that is the divergence of N(0, I) from the code's Gaussian; the other way round is wanted.",
    )
    at = f"at σ = 2, mu = 0 it is {out[0].item():.3f} nats instead of {kl[0].item():.3f}. "
    require(not close(out, gaussian_kl(mu, 2 * logvar)), at + "Is logvar read as log σ?")
    mixed = kl + 0.5 * (sigma - sigma.square())[:, 0]
    require(not close(out, gaussian_kl(mu, logvar / 2)) and not close(out, mixed), at + "Is there a σ for a σ²?")
    for i, what in enumerate(("σ = 2, mu = 0", "σ = 1, mu = 1", "σ = ½, mu = 0", "σ = 3, mu = 2")):
        require(close(out[i], kl[i]), f"at {what} it is {out[i].item():.3f} nats; {kl[i].item():.3f} are wanted.")
    mu, logvar = torch.randn(3, 5).requires_grad_(), torch.randn(3, 5).mul(3).requires_grad_()
    out, kl = call(answer, mu, logvar), gaussian_kl(mu, logvar)
    require(not close(out * 5, kl), "it is right for one number and 5 times too small for five: sum, do not average.")
    require(close(out, kl), "it is right for one number and wrong for a code of five. What is added up?")
    require(out.requires_grad, "it is cut off from mu and logvar: is there a detach, an item() or a no_grad?")
    gradients = torch.autograd.grad(out.sum(), (mu, logvar), allow_unused=True)
    for name, gradient, right in zip(("mu", "logvar"), gradients, (mu, logvar.expm1() / 2)):
        require(gradient is not None, f"it is right, but no gradient reaches {name}: is it detached?")
        require(close(gradient, right.detach()), f"it is right, but not its gradient for {name}: is a part detached?")


class _Stub(nn.Module):
    """A model whose codes have three numbers: brighter images have larger ones. Keeps the codes it decodes."""

    def __init__(self, widths=_WIDTHS):
        super().__init__()
        self.mu = nn.Parameter(torch.tensor([2.0, -1.0, 0.0]))
        self.logvar = nn.Parameter(2 * torch.tensor(widths).log())
        self.weight = nn.Parameter(torch.linspace(-0.2, 0.3, 3 * 784).view(3, 784))
        self.codes = []

    def encode(self, x):
        brightness = x.flatten(start_dim=1).mean(dim=1, keepdim=True)
        return self.mu + 16 * brightness, self.logvar.expand(len(x), 3)

    def decode_logits(self, z):
        self.codes.append(z.detach().flatten(end_dim=-2))
        return (z @ self.weight).view(-1, 1, 28, 28)


def _stub(base=VariationalAutoencoder, *widths, **methods):
    """A stub that inherits the learner's methods."""
    return type("Stub", (_Stub, base), methods)(*widths)


_SHARP = (1e-6,) * 3  # what is drawn is mu, to six digits


def _images():
    """Four images, from dark to bright."""
    return torch.rand(4, 1, 28, 28) * torch.tensor([0.2, 0.5, 0.8, 1.0]).view(4, 1, 1, 1)


def _require_drawn_by(model, function, where=""):
    """Refuse a function of images that decodes other codes than drawn ones.

    Returns what it makes of 1,000 equal images, that image, and the codes that it decoded for them, one or
    more for each.
    """
    x = _images()[1:2]
    many = x.repeat(1000, 1, 1, 1)
    model.codes.clear()
    out = function(many)
    require(model.codes, f"{where}decode_logits is never called.")
    codes = torch.cat(model.codes)
    with torch.no_grad():
        function(many)
        mu, logvar = model.encode(x)
    _require_drawn(torch.cat(model.codes), mu[0], logvar[0], where)
    return out, x, codes


def _reconstruction_mistakes(model, x, codes):
    """The mean reconstruction of an image by these codes, and what known mistakes make of it."""
    logits = model.decode_logits(codes)
    x = x.expand_as(logits)
    right, twice, swapped = (
        binary_cross_entropy(*pair).mean() for pair in ((logits, x), (logits.sigmoid(), x), (x, logits))
    )
    return right, {
        "a sigmoid is applied twice: binary_cross_entropy takes logits.": twice,
        "logits and images have changed places in binary_cross_entropy.": swapped,
        "reconstruction has the wrong sign: binary_cross_entropy is minus a logarithm.": -right,
        "reconstruction is 784 times too small: the sum over pixels is wanted, not the mean.": right / 784,
    }


def _require_terms(terms, batch, images):
    """Refuse what is not (reconstruction, kl), one number per image each."""
    require(terms is not None, "elbo returns None. Is there a return?")
    require(
        isinstance(terms, (tuple, list)) and len(terms) == 2,
        f"elbo should return two things, reconstruction and kl; yours returns "
        f"{len(terms) if isinstance(terms, (tuple, list)) else f'one {type(terms).__name__}'}.",
    )
    for name, term in zip(("reconstruction", "kl"), terms):
        require(
            not (torch.is_tensor(term) and term.ndim == 0),
            f"{name} is one number for the whole batch; one per image is wanted. loss averages.",
        )
        require_tensor(term, (batch,), f"{name} of {images}")


def _require_scalars(terms, what):
    """Refuse what is not a dictionary of the three scalars."""
    require(terms is not None, f"{what} returns None. Is there a return?")
    require(
        isinstance(terms, dict) and {"loss", "reconstruction", "kl"} <= set(terms),
        f'{what} should return a dictionary with "loss", "reconstruction" and "kl".',
    )
    for name in ("reconstruction", "kl", "loss"):
        require_tensor(terms[name], (), f"the {name} of {what}")


def _require_gradients_of(name, term, model):
    """Refuse a term whose gradient does not reach all parts of the model that it depends on."""
    parts = {"mu": model.mu, "logvar": model.logvar} | ({} if name == "kl" else {"the decoder": model.weight})
    gradients = [None] * len(parts)
    if term.requires_grad:
        gradients = torch.autograd.grad(term.sum(), parts.values(), allow_unused=True, retain_graph=True)
    missed = [part for part, gradient in zip(parts, gradients) if gradient is None or not gradient.any()]
    require(not missed, f"no gradient of the {name} reaches {' and '.join(missed)}: is something detached on the way?")


@check(
    "5.3",
    VariationalAutoencoder,
    hints=(
        "Four steps: encode, draw, decode, compare. The first gives mu and logvar.",
        "decode_logits makes of the drawn code what binary_cross_entropy takes.",
        "gaussian_kl(mu, logvar) is the second term. Both functions give one number per image: return them.",
    ),
)
def _variational_autoencoder(answer):
    require(
        isinstance(answer, type) and issubclass(answer, nn.Module),
        "the lesson's models are built on VariationalAutoencoder: it should be a class, and an nn.Module.",
    )
    for batch, images in _BATCHES:
        model, x = _stub(answer).to(default_device()), torch.rand(batch, 1, 28, 28, device=default_device())
        _require_terms(model.elbo(x), batch, images)
    for where in ("", "in evaluation mode, "):
        model = _stub(answer).train(not where)
        (reconstruction, kl), x, codes = _require_drawn_by(model, model.elbo, where)
        value, mistakes = _reconstruction_mistakes(model, x, codes)
        yours, right = reconstruction.mean(), gaussian_kl(*model.encode(x))
        swapped = close(yours, right) and close(kl.mean(), value)
        require(not swapped, "the two are in the wrong order: reconstruction first.")
        mistakes["reconstruction holds the KL as well: the two are wanted apart."] = value + right
        _refuse_mistakes(yours, mistakes)
        require(
            close(yours, value),
            f"{where}reconstruction is {yours.item():.4g} nats on average over 1,000 draws; the codes that were "
            f"decoded give {value.item():.4g}.",
        )
    x, model = _images(), _stub(answer)
    model.beta = 3.0
    kl, again, (mu, logvar) = model.elbo(x)[1], model.elbo(x)[1], model.encode(x)
    right = gaussian_kl(mu, logvar)
    require(close(kl, again), "kl changes from call to call. What in the closed form would be random?")
    mistakes = {
        "kl has the wrong sign: a divergence is never negative.": -right,
        "kl is weighted by beta already; loss does that.": 3 * right,
        "kl is 3 times too small for codes of three numbers.": right / 3,
        "mu and logvar are taken for each other in kl.": gaussian_kl(logvar, mu),
    }
    _refuse_mistakes(kl, mistakes)
    require(close(kl, right), f"kl is {kl[0].item():.4g} nats for a dark image instead of {right[0].item():.4g}.")
    for name, term in zip(("reconstruction", "kl"), model.elbo(x)):
        _require_gradients_of(name, term, model)
    model = _stub(answer, _SHARP)
    model.beta = 3.0
    logits = model.decode_logits(mu)
    right = {"reconstruction": binary_cross_entropy(logits, x), "kl": gaussian_kl(*model.encode(x))}
    gap = (model.elbo(x)[0] - right["reconstruction"]).abs().max().item()
    require(gap < 0.1, f"reconstruction is right for equal images, but in a mixed batch off by {gap:.3g} nats.")
    terms = model.loss(x)
    _require_scalars(terms, "loss")
    for name, value in right.items():
        require(close(terms[name], value.mean()), f"the {name} of loss should be the mean over the batch.")
    require(
        close(terms["loss"], terms["reconstruction"] + 3 * terms["kl"]), "loss should be reconstruction + beta · kl."
    )
    model = _stub(answer)
    for name, out in (("reconstruct", model.reconstruct(x)), ("forward", model(x))):
        require_tensor(out, x.shape, f"what {name} makes of four images")
        require(close(out, logits.sigmoid()), f"{name} should decode the mean, undrawn, to pixels in [0, 1].")


def vae_loss(model, x):
    """reconstruction + kl, in nats per image, averaged over the batch.

    x: (batch, 1, 28, 28) in [0, 1]. Returns {"loss": …, "reconstruction": …, "kl": …}, scalars.
    """
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    reconstruction = binary_cross_entropy(logits, x).mean()
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=1).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@check(
    "5.4",
    vae_loss,
    hints=(
        "The symptom is in the KL alone. Which of its axes is the batch, which the code?",
        "For each image the KL is a sum over the numbers of its code. Then comes the mean over images.",
    ),
)
def _vae_loss(answer):
    def run(x, *widths):
        model = _stub(VariationalAutoencoder, *widths, loss=answer)  # as the lesson puts it into a model
        terms = model.to(x.device).loss(x)
        _require_scalars(terms, "vae_loss")
        return model, terms

    x = _images()
    run(x.to(default_device()))
    (model, once), (_, twice) = run(x), run(torch.cat([x, x]))
    require(
        close(once["kl"], twice["kl"]),
        f"a batch of 4 images has the KL {once['kl'].item():.4g}, the same images twice {twice['kl'].item():.4g}. "
        f"It should not depend on how many there are.",
        Bug,
    )
    tested = _stub(loss=answer).eval()
    _require_drawn_by(tested, tested.loss, "something else has changed: ")
    sharp, terms = run(x, _SHARP)
    right = binary_cross_entropy(sharp.decode_logits(sharp.encode(x)[0]), x).mean()
    kl = gaussian_kl(*model.encode(x)).mean()
    for name, yours, wanted in (("reconstruction", terms["reconstruction"], right), ("kl", once["kl"], kl)):
        require(
            close(yours, wanted),
            f"{name} is {yours.item():.4g} nats per image instead of {wanted.item():.4g}: {yours / wanted:.3g} times. "
            f"Here 4 images have 784 pixels and codes of 3 numbers each.",
        )
    require(close(once["loss"], once["reconstruction"] + once["kl"]), "loss should be reconstruction + kl.")
    for name in ("reconstruction", "kl", "loss"):
        _require_gradients_of(name, once[name], model)


def elbo_estimate(model, x):
    """The ELBO of each image, estimated with one drawn code: (batch,), in nats, negative.

    x: (batch, 1, 28, 28) in [0, 1].
    """
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    return -binary_cross_entropy(logits, x) - gaussian_kl(mu, logvar)


@check(
    "5.5",
    elbo_estimate,
    hints=(
        "The first term of the ELBO is an expectation over q(z|x). What is decoded here instead?",
        "The mean is one code, and the most convenient one. Draw a code, as in training.",
    ),
)
@torch.no_grad()
def _elbo_estimate(answer):
    for batch, images in _BATCHES:
        device = default_device()
        out = answer(_stub().to(device), torch.rand(batch, 1, 28, 28, device=device))
        require_tensor(out, (batch,), f"the estimate for {images}")
    x = _images()
    for mode in ("", "in evaluation mode "):
        model = _stub().train(not mode)
        first, second = answer(model, x), answer(model, x)
        require(
            not torch.equal(first, second),
            f"{mode}two calls both give {first[0].item():.5g} nats for a dark image: "
            f"nothing new is drawn, though the ELBO is an average over draws.",
            Bug,
        )
    out, image, codes = _require_drawn_by(model, lambda x: answer(model, x))
    (mu, logvar), yours = model.encode(image), out.mean()
    kl = gaussian_kl(mu, logvar)
    # the KL may also be estimated from the same codes
    estimate = 0.5 * (codes.square() - (codes - mu).square() / logvar.exp() - logvar).sum(dim=1).mean()
    reconstruction, mistakes = _reconstruction_mistakes(model, image, codes)
    _refuse_mistakes(-yours - kl, mistakes)
    right = -reconstruction - kl
    gap = f"on average over 1,000 draws it is {abs(yours - right).item():.4g} nats too "
    gap += "high" if yours > right else "low"
    mistakes = {
        "the sign is wrong: these are losses; the ELBO of these images is negative.": reconstruction + kl,
        f"{gap}, by the KL: is it missing?": -reconstruction,
        f"{gap}, by twice the KL: which sign has it?": -reconstruction + kl,
    }
    _refuse_mistakes(yours, mistakes)
    require(close(yours, right) or close(yours, -reconstruction - estimate), f"{gap} for the codes that were decoded.")
    model = _stub(VariationalAutoencoder, (0.01,) * 3)
    mu, logvar = model.encode(x)
    right = -binary_cross_entropy(model.decode_logits(mu), x) - gaussian_kl(mu, logvar)
    worst = (answer(model, x) - right).abs().max().item()
    # with σ = 0.01 a draw is off by a nat or two, a KL that is another image's by 30 or more
    require(worst < 20, f"it is right for equal images, but in a mixed batch off by {worst:.3g} nats: is each its own?")


def nearer_digits():
    """Which new digits lie nearer to the test digits, by Fréchet distance?

    "vae": the VAE's, with codes from N(0, I); its distance is less than half of the other.
    "autoencoder": lesson 1's, with codes from a Gaussian fitted to the training codes; less than half.
    "alike": neither is less than half of the other.
    """
    return "alike"


@check(
    "5.6",
    nearer_digits,
    prediction=True,
    hints=(
        "Both models decode codes of a Gaussian. One was trained towards it, to the other it was fitted afterwards.",
        "Fitted with all its correlations. And compare the reconstructions of both models: who is sharper?",
    ),
)
def _nearer_digits(answer):
    choice = require_choice(answer, "vae", "autoencoder", "alike")
    require(
        choice != "vae",
        "a VAE needs no Gaussian fitted afterwards. That is its merit; its digits are not that much nearer.",
    )
    require(choice != "autoencoder", "the fitted Gaussian is a strong opponent, but not that strong.")
