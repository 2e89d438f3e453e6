"""Checks of lesson 6."""

import math

import torch

from aecourse.exercises.checks import (
    Bug,
    Wrong,
    call,
    check,
    close,
    require,
    require_choice,
    require_number,
    require_tensor,
)
from aecourse.models import DenseVAE
from aecourse.training import default_device


def _refuse_mistakes(value, right, mistakes):
    """Refuse a number that equals that of a known mistake, with its message, unless it is the right one."""
    for message, wrong in mistakes.items():
        same = (math.isclose(value, other, rel_tol=1e-4) for other in (right, wrong))
        require(tuple(same) != (False, True), message)


def beta_elbo(model, x, beta):
    """reconstruction + beta · kl, in nats per image, averaged over the batch.

    model.elbo(x) gives both terms of each image. Returns {"loss": …, "reconstruction": …, "kl": …}, scalars.
    Source: Higgins et al., "beta-VAE", 2017.
    """
    reconstruction, kl = (term.mean() for term in model.elbo(x))
    return {"loss": reconstruction + beta * kl, "reconstruction": reconstruction, "kl": kl}


def _calls_itself(model, *batch):
    raise Wrong("it calls model.loss, which in the lesson calls this very function. model.elbo does not.")


def _vae():
    """A VAE as the lesson makes it, but with σ of a millionth: what is drawn makes no difference."""
    model = type("BetaVAE", (DenseVAE,), {"beta": 7.0, "loss": _calls_itself})(latent_dim=3, hidden=8)
    with torch.no_grad():
        model.mu.weight.mul_(20)
        model.logvar.weight.zero_()
        model.logvar.bias.fill_(2 * math.log(1e-6))
    return model.to(default_device())


@check(
    "6.1",
    beta_elbo,
    hints=(
        "At beta = 4 the model pays more for its code than before, or less? Follow beta through the loss.",
        "beta should multiply what a code costs, and nothing else.",
    ),
)
def _beta_elbo(answer):
    model = _vae()
    two = torch.rand(2, 1, 28, 28) * torch.tensor([0.2, 1.0]).view(2, 1, 1, 1)  # one dark, one bright
    two = two.to(default_device())
    for beta, x, training in ((4.0, two, True), (0.25, two[:1], True), (10.0, two, False), (0.0, two, True)):
        with torch.set_grad_enabled(training):
            before, out = x.clone(), answer(model.train(training), x, beta)
            r, kl = (term.mean() for term in model.elbo(x))
        require(torch.equal(x, before), "it changes the images in place.")
        require(
            isinstance(out, dict) and {"loss", "reconstruction", "kl"} <= set(out),
            f'it should return a dictionary with "loss", "reconstruction" and "kl"; yours returns '
            f"{f'one with {list(out)}' if isinstance(out, dict) else f'a {type(out).__name__}'}.",
        )
        for name in out:  # training averages every entry
            require_tensor(out[name], (), f"its entry {name!r}")
        if beta == 4:
            _refuse_mistakes_of_beta_elbo({name: value.item() for name, value in out.items()}, r.item(), kl.item())
        at = f"at beta = {beta:g}{'' if training else ', in evaluation mode'}, "
        for name, wanted in (("reconstruction", r), ("kl", kl), ("loss", r + beta * kl)):
            require(
                close(out[name], wanted),
                f"{at}{name} is {out[name].item():.1f} instead of {wanted.item():.1f} nats "
                f"(reconstruction {r.item():.1f}, kl {kl.item():.1f}, both batch means).",
            )
        require(all(p.grad is None for p in model.parameters()), "it calls backward; fit does that.")
        if training:
            _require_same_gradients(out["loss"], r + beta * kl, model)


def _refuse_mistakes_of_beta_elbo(out, r, kl):
    """Known mistakes at beta = 4, with two images; r, kl: what reconstruction and kl should be."""
    costs = "at beta = 4 a nat of reconstruction costs {} and a nat of code {}".format
    require(not close(out["loss"], 4 * r + kl), costs(4, 1) + ".", Bug)
    for name, wanted, numbers, what in (("reconstruction", r, 784, "pixels"), ("kl", kl, 3, "numbers of the code")):
        off = f"its entry {name!r} is {out[name]:.1f}; the batch mean is {wanted:.1f} nats"
        mistakes = {
            f"{off}. Is beta in it? What a term costs belongs into the loss alone.": 4 * wanted,
            f"{off}. Is it divided by beta?": wanted / 4,
            f"{off}. Is it summed over the images?": 2 * wanted,
            f"{off}. Is it averaged over the {numbers} {what}, too?": wanted / numbers,
            f"{off}. Which sign has it?": -wanted,
        }
        _refuse_mistakes(out[name], wanted, mistakes)
    mistakes = {
        f"{costs(4, 4)}: both became dearer, neither against the other.": 4 * (r + kl),
        f"{costs('¼', 1)}: one is to the other as it should be, but the loss is four times too small.": r / 4 + kl,
        f"{costs(1, '¼')}: the higher beta, the cheaper the code.": r + kl / 4,
        f"{costs(1, 16)}: does beta come in twice?": r + 16 * kl,
        f"{costs(1, 1)}: where is beta?": r + kl,
        f"{costs(1, -4)}: the model is paid for what it should pay.": r - 4 * kl,
        f"{costs(1, 7)}, which is model.beta. Here the price is the argument beta.": r + 7 * kl,
        "the loss is two times too large: is it summed over the two images?": 2 * (r + 4 * kl),
        "the loss holds the reconstruction alone.": r,
        "the loss holds the code's price alone.": 4 * kl,
    }
    _refuse_mistakes(out["loss"], r + 4 * kl, mistakes)


def _require_same_gradients(loss, right, model):
    """Refuse a loss with the right value from which the model does not learn the same."""
    require(loss.requires_grad, "the loss is right, but cut off from the model: is there an item() or a no_grad?")
    names, parameters = zip(*model.named_parameters())
    yours, wanted = (torch.autograd.grad(y, parameters, allow_unused=True) for y in (loss, right))
    wrong = [
        name
        for name, a, b in zip(names, yours, wanted)
        if (b.abs() > 1e-3).any() and (a is None or not torch.allclose(a, b, rtol=1e-3, atol=1e-3))
    ]
    # the decoder's gradients come from the reconstruction alone, those of logvar from the kl
    lost = "reconstruction" if any("decoder" in name for name in wrong) else "kl"
    require(not wrong, f"the loss is right, but not the gradient of its {lost}: is there an item() or a detach?")


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
    reductions = ("sum", "sum"), ("mean", "sum"), ("sum", "mean"), ("mean", "mean")
    for weight, pixels, latent in ((4.0, 784, 20), (0.00025, 12288, 128), (1, 784, 32)):
        for reconstruction, kl in reductions:
            case = f'effective_beta({weight:g}, {pixels}, {latent}, "{reconstruction}", "{kl}")'
            value = require_number(answer(weight, pixels, latent, reconstruction, kl), case)
            n, k = pixels if reconstruction == "mean" else 1, latent if kl == "mean" else 1
            mistakes = {
                "That is the weight, as if both were sums.": weight,
                "The wrong way round? Say which term a mean makes lighter.": weight * k / n,
                f"The mean of the KL over {latent} numbers does not show.": weight * n,
                f"The mean of the reconstruction over {pixels} pixels does not show.": weight / k,
                "Is it multiplied twice? Both terms became lighter.": weight * n * k,
                "Is it divided twice? Both terms became lighter.": weight / n / k,
                "Is it rounded down, by // or int()?": weight * (n // k),
                f"Which term has {pixels} numbers, which {latent}?": weight
                * (latent if n > 1 else 1)
                / (pixels if k > 1 else 1),
                "What became of the weight?": n / k,
                "Does the weight count twice?": weight * weight * n / k,
            }
            if n == k == 1:
                mistakes["Nothing is a mean here. Is sum taken for mean?"] = weight * pixels / latent
            wanted = weight * n / k
            _refuse_mistakes(value, wanted, {f"{case} is {value:.4g}. {m}": wrong for m, wrong in mistakes.items()})
            require(close(value / wanted, 1.0), f"{case} is {value:.4g}; {wanted:.4g} is wanted.")
    value = require_number(answer(3.0, 784, 20), "effective_beta(3, 784, 20)")
    require(close(value, 3.0), f"effective_beta(3, 784, 20) is {value:.4g}; without reductions both should be sums.")


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
    def nats(q, what):
        return require_number(call(answer, q), f"the entropy of {what}")

    q = (torch.randn(300, 4) * torch.tensor([0.5, 1.0, 2.0, 3.0])).round()  # holds 0 and -0, as rounded codes do
    right, yours = code_entropy(q), nats(q, "300 codes of 4 numbers")
    off = f"300 codes of 4 numbers have {right:.3f} nats; yours is {yours:.3f}"
    _refuse_mistakes(yours, right, {f"{off}. {m}": wrong for m, wrong in _entropy_mistakes(q, right).items()})
    four, same = torch.tensor([[0.0], [1.0], [-2.0], [7.0]]), torch.full((5, 3), 2.0)
    large = (torch.randn(10_000, 32) * torch.linspace(0.1, 100, 32)).round()
    for what, codes, look in (
        ("one column 0, 1, -2, 7", four, "All four have the same share."),
        ("one column 3, 3, 3, -1", torch.tensor([[3.0], [3.0], [3.0], [-1.0]]), "Does each value count by its share?"),
        ("two columns 0, 1, -2, 7", four.expand(4, 2).clone(), "Each is coded by itself."),
        ("five equal codes", same, "What is there to tell?"),
        ("a single code", same[:1], "What is there to tell?"),
        ("300 codes of 4 numbers", q, "Smaller cases are right."),
        ("10,000 codes of 32 numbers, up to ±400", large, "Smaller cases are right: is anything left out or cut off?"),
    ):
        wanted, yours = code_entropy(codes), nats(codes, what)
        require(
            abs(yours - wanted) < 1e-3 + 1e-4 * wanted,
            f"{what}: {wanted:.3f} nats are wanted; yours is {yours:.3f}. {look}",
        )


def _entropy_mistakes(q, right):
    """What known mistakes make of the entropy of q, in whose columns values come back, 0 also as -0."""
    n, latent = q.shape
    counts = [column.unique(return_counts=True)[1] for column in q.T]
    shares = [count / n for count in counts]
    rows = q.unique(dim=0, return_counts=True)[1] / n
    runs = [column.unique_consecutive(return_counts=True)[1] / n for column in q.T]
    zeros = torch.where((q == 0) & q.signbit(), 0.5, q)
    return {
        "Those are bits.": right / math.log(2),
        "Is the logarithm one to base 10?": right / math.log(10),
        "Which sign has an entropy?": -right,
        "That is the mean over the columns.": right / latent,
        "That is for all images together; how much is it for one?": right * n,
        "That is the entropy of whole rows; each number is coded by itself.": torch.special.entr(rows).sum(),
        "It takes the values of all columns together.": code_entropy(q.reshape(-1, 1)),
        "It takes the values of all columns together, once for each.": latent * code_entropy(q.reshape(-1, 1)),
        "That is the entropy of the rows' values: which axis is the images?": code_entropy(q.T),
        "It counts how many values there are, not how often each occurs.": sum(math.log(len(s)) for s in shares),
        "A sum of p log p needs shares: do they add up to 1?": -sum((c * c.log()).sum() for c in counts),
        "Every value counts alike; does p stand before the logarithm?": -sum(s.log().sum() for s in shares),
        "Only the first column counts.": code_entropy(q[:, :1]),
        "Only the last column counts.": code_entropy(q[:, -1:]),
        "All values are taken as different. Does equal count as equal?": latent * math.log(n),
        "Values that come back later are counted anew.": sum(torch.special.entr(s).sum() for s in runs),
        "Is -2 taken for 2?": code_entropy(q.abs()),
        "Is -0 taken as another value than 0?": code_entropy(zeros),
    }


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
    def listed(numbers):
        return ", ".join(f"{number:g}" for number in numbers)

    z, values = torch.tensor([1.5, -2.0, 0.5, 3.0]), torch.tensor([-3.0, 0.5, 2.5, 1.0, -1.0])
    for number in (2, 0, 1, 3):
        out, asked = call(answer, z, number, values), f"asked for number {number}, it "
        require_tensor(out, (5, 4), "the traversal of a code of 4 numbers in 5 steps")
        require(out.dtype == z.dtype, f"of {z.dtype} it makes codes of {out.dtype}, which no decoder takes.")
        changed = [i for i in range(4) if not close(out[:, i], z[i].expand(5))]
        done = [i for i in changed if close(out[:, i], values)]
        require(changed, f"{asked}changes nothing: all codes are z.")
        require(len(done) < 4, f"{asked}sets all numbers to the values.")
        require(number in changed or not done, f"{asked}sets number {listed(done)}. Is number used as it is?")
        mistakes = {
            "adds the values to it; it should be set to them": z[number] + values,
            "multiplies it by the values; it should be set to them": z[number] * values,
            "sets it to the values in another order": values.flip(0),
            "takes evenly spaced values, not those given": torch.linspace(-3, values[-1], 5),
            "has the last of the values in every step, as if all rows were the same tensor": values[-1:].expand(5),
        }
        for message, wrong in mistakes.items():
            require(not close(out[:, number], wrong), f"{asked}{message}.")
        yours = listed(out[:, number].tolist())
        require(number in done, f"number {number} runs through {yours} instead of {listed(values.tolist())}.")
        others = [i for i in range(4) if i != number]
        require(out[:, others].any(), f"{asked}makes all others 0; they should stay as they are in z.")
        require(changed == [number], f"{asked}changes others, too: {listed(i for i in changed if i != number)}.")
    z, values = torch.randn(20), torch.linspace(-3, 3, 11)
    for steps, latent in ((1, 4), (4, 4), (11, 20)):
        what, out = f"a code of {latent} numbers in {steps} steps", answer(z[:latent], 2, values[:steps])
        require_tensor(out, (steps, latent), f"the traversal of {what}")
        require(close(out, traverse(z[:latent], 2, values[:steps])), f"{what} is wrong, though others are right.")
