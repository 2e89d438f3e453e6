"""Exercises of lesson 6, part 1."""

import collections
import math

import torch

from aecourse import latent, losses, metrics, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    prediction,
    require,
    require_entries,
    require_number,
    require_same,
    require_same_gradients,
    require_tensor,
)
from aecourse.exercises.stubs import GaussianStub, graded_images
from aecourse.training import default_device

# 6.1 beta_elbo

beta_elbo = Exercise(
    "6.1",
    models.VariationalAutoencoder.loss,
    name="beta_elbo",
    hints=(
        "With a large beta, does the KL term have more weight than before, or less? Follow beta through the loss.",
        "beta should multiply the KL term, and nothing else.",
    ),
)


class BetaVAE(GaussianStub, models.VariationalAutoencoder):
    """The lesson's model, whose loss is the learner's function; with large logits, and another mu in training mode."""

    def encode(self, x):
        mu, logvar = super().encode(x)
        return mu + self.training, logvar

    def decode_logits(self, z):
        return 10 * super().decode_logits(z)

    def loss(self, x):
        require(False, "it calls model.loss, which in the lesson calls this very function; model.elbo does not.")


@beta_elbo.check
def _(answer):
    x = graded_images().to(default_device())
    for beta, n, training in ((4.0, 3, True), (0.25, 1, True), (10.0, 4, False), (2.5, 4, True), (0.0, 2, False)):
        model = BetaVAE((1e-9,) * 3).to(x.device).train(training)
        model.beta = beta
        at = f"at beta = {beta:g}, for a batch of {n} in {'training' if training else 'evaluation'} mode,"
        with torch.set_grad_enabled(training):
            terms = call(answer, model, x[-n:], sampled=True)
            require_entries(terms, ("loss", "reconstruction", "kl"), f"{at} what it returns")
            right = models.VariationalAutoencoder.loss(model, x[-n:])
        for name in ("reconstruction", "kl", "loss"):
            require_same(terms[name], right[name], f"{at} {name}")
            require_tensor(terms[name], (), f"{at} {name}", device=x.device)
        require_same_gradients(terms["loss"], right["loss"], dict(model.named_parameters()), f"{at} the loss")


@beta_elbo.given("the larger beta is, the smaller the weight of the KL term relative to the reconstruction.")
def the_bug_itself(model, x):
    reconstruction, kl = (term.mean() for term in model.elbo(x))
    return {"loss": model.beta * reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def changed(**formulas):
    """The right answer with these entries replaced, each by a function of reconstruction, kl and beta."""

    def answer(model, x):
        right = models.VariationalAutoencoder.loss(model, x)
        terms = right["reconstruction"], right["kl"], model.beta
        return right | {name: formula(*terms) for name, formula in formulas.items()}

    return answer


beta_elbo.add_mistakes(
    divides_the_reconstruction=("the loss falls as beta grows.", changed(loss=lambda r, kl, beta: r / beta + kl)),
    divides_the_kl=("a larger beta makes the KL term smaller.", changed(loss=lambda r, kl, beta: r + kl / beta)),
    beta_on_both=("beta does not move the loss's minimum.", changed(loss=lambda r, kl, beta: beta * (r + kl))),
    beta_squared=(
        "twice the beta makes the KL term four times as large.",
        changed(loss=lambda r, kl, beta: r + beta**2 * kl),
    ),
    without_beta=("the loss is the same for every beta.", changed(loss=lambda r, kl, beta: r + kl)),
    subtracts=("the loss falls as the KL grows.", changed(loss=lambda r, kl, beta: r - beta * kl)),
    forgets_the_reconstruction=("the reconstruction has no weight.", changed(loss=lambda r, kl, beta: beta * kl)),
    forgets_the_kl=("the KL has no weight.", changed(loss=lambda r, kl, beta: r)),
    reports_beta_kl=("the reported kl changes with beta.", changed(kl=lambda r, kl, beta: beta * kl)),
    detaches_the_kl=(
        "the value is right, but no gradient of the KL reaches the model.",
        changed(loss=lambda r, kl, beta: r + beta * kl.detach()),
    ),
    detaches_the_reconstruction=(
        "the value is right, but no gradient reaches the decoder.",
        changed(loss=lambda r, kl, beta: r.detach() + beta * kl),
    ),
)


@beta_elbo.mistake("a batch repeated twice has twice the loss and twice the terms.")
def sums_over_the_batch(model, x):
    return {name: len(x) * value for name, value in models.VariationalAutoencoder.loss(model, x).items()}


@beta_elbo.mistake("it is a loss for each image; one scalar for the batch is wanted.")
def keeps_the_images_apart(model, x):
    r, kl = model.elbo(x)
    return {"loss": r + model.beta * kl, "reconstruction": r, "kl": kl}


# 6.2 effective_beta

effective_beta = Exercise(
    "6.2",
    losses.effective_beta,
    hints=(
        "A positive factor in front of a loss does not move its minimum. Make the reconstruction a sum first.",
        "A mean over 784 pixels is the sum over 784. Multiply the whole loss by 784: what becomes of the weight?",
        "A mean over 20 latent dimensions is the sum over 20, so the KL has a twentieth of the weight.",
    ),
)
REDUCTIONS = ("mean", "sum"), ("sum", "mean"), ("mean", "mean"), ("sum", "sum")


@effective_beta.check
def _(answer):
    for case in ((4.0, 784, 20), (0.00025, 12_288, 128), (1, 1024, 10), (2.5, 30, 60)):
        results = {reductions: call(answer, *case, *reductions) for reductions in REDUCTIONS}
        for reductions, result in results.items():
            what = f"effective_beta{(*case, *reductions)}"
            require_same(require_number(result, what), losses.effective_beta(*case, *reductions), what, atol=0)
    result = require_number(call(answer, 3.0, 784, 20), "effective_beta(3, 784, 20)")
    require_same(result, 3.0, "without reductions both terms are sums, and effective_beta(3, 784, 20)")


def scaled(mean_reconstruction, mean_kl):
    """The weight times pixels**a * latent_dim**b for either term that is a mean: two pairs (a, b)."""

    def answer(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
        for (a, b), reduction in ((mean_reconstruction, reconstruction), (mean_kl, kl)):
            weight = weight * float(pixels) ** a * float(latent_dim) ** b if reduction == "mean" else weight
        return weight

    return answer


effective_beta.add_mistakes(
    divides_by_pixels=("does a smaller reconstruction give the KL less weight?", scaled((-1, 0), (0, -1))),
    multiplies_by_latent=("does the KL have more weight if it is a mean?", scaled((1, 0), (0, 1))),
    the_wrong_way_round=("both means have the opposite of their effect.", scaled((-1, 0), (0, 1))),
    ignores_the_pixels=("a mean of the reconstruction makes no difference.", scaled((0, 0), (0, -1))),
    ignores_the_latent_dimensions=("a mean of the KL makes no difference.", scaled((1, 0), (0, 0))),
    latent_for_pixels=("is the reconstruction's mean one over latent dimensions?", scaled((0, 1), (0, -1))),
    pixels_for_latent=("is the mean of the KL one over pixels?", scaled((1, 0), (-1, 0))),
)


@effective_beta.mistake("sum is taken for mean: which of the two makes a term smaller?")
def takes_sums_for_means(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (pixels if reconstruction == "sum" else 1) / (latent_dim if kl == "sum" else 1)


@effective_beta.mistake("where both are means, the mean of the KL is overlooked: is there an elif?")
def elif_for_the_kl(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * pixels if reconstruction == "mean" else weight / latent_dim if kl == "mean" else weight


@effective_beta.mistake("where both are means, the mean of the reconstruction is overlooked: is there an elif?")
def elif_for_the_reconstruction(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight / latent_dim if kl == "mean" else weight * pixels if reconstruction == "mean" else weight


@effective_beta.mistake("it is rounded down: // drops the fraction that / keeps.")
def integer_division(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (pixels if reconstruction == "mean" else 1) // (latent_dim if kl == "mean" else 1)


@effective_beta.mistake("the weight in front of the KL is left out.")
def ignores_the_weight(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return losses.effective_beta(1, pixels, latent_dim, reconstruction, kl)


# 6.3 by how much does the loss rise?

prediction(
    "6.3",
    answer="less",
    replies={
        "more": "the loss of a model that stays as it is rises by 25 nats; the minimum cannot rise by more.",
        "exactly": "the loss of a model that stays as it is rises by 25 nats; but the model may change.",
    },
    hints=(
        "The loss of a model that does not change at all rises by 25 nats. Can the model do better?",
        "When the KL term has more weight, the model can reduce its KL.",
    ),
)

# 6.4 code_entropy

code_entropy = Exercise(
    "6.4",
    metrics.code_entropy,
    hints=(
        "For one column: which values occur, and in what fraction p of the images? The entropy is -Σ p log p.",
        "column.unique(return_counts=True) gives the values and how often each occurs.",
        "Sum the entropies of all columns. Natural logarithms give nats.",
    ),
)


@code_entropy.check
def _(answer):
    four, spread = torch.tensor([[0.0], [1.0], [-2.0], [7.0]]), torch.tensor([0.5, 1, 2, 0.01, 3])
    for q, what in (  # rounded latent codes hold 0 and -0, and the fourth column nothing else
        ((torch.randn(300, 5) * spread).round(), "300 latent codes of 5 dimensions"),
        (torch.tensor([[3.0], [3.0], [3.0], [-1.0]]), "one column 3, 3, 3, -1"),
        (four, "one column 0, 1, -2, 7"),
        (four.repeat(1, 2), "two columns 0, 1, -2, 7"),
        (torch.full((6, 3), 2.0), "six equal latent codes"),
        (torch.tensor([[2.0, -1.0, 0.0]]), "a single latent code"),
        ((torch.randn(10_000, 32) * torch.linspace(0.1, 100, 32)).round(), "10,000 latent codes of 32 dimensions"),
    ):
        what = f"the entropy of {what}"
        result = require_number(call(answer, q), what)
        require_same(result, metrics.code_entropy(q), what, atol=1e-3)


def fractions(q):
    """How often each value occurs, column by column, as fractions of the images."""
    return [column.unique(return_counts=True)[1] / len(q) for column in q.T]


code_entropy.add_mistakes(
    bits=("those are bits; nats are wanted.", lambda q: metrics.code_entropy(q) / math.log(2)),
    forgets_the_minus=("an entropy is never negative.", lambda q: -metrics.code_entropy(q)),
    mean_over_columns=(
        "it is the mean over the columns; sum over them.",
        lambda q: metrics.code_entropy(q) / q.shape[1],
    ),
    of_all_images=("that is for all images together, not for one.", lambda q: metrics.code_entropy(q) * len(q)),
    all_together=("values of different columns are counted together.", lambda q: metrics.code_entropy(q.view(-1, 1))),
    over_rows=("it counts within each row: which axis is the images?", lambda q: metrics.code_entropy(q.T)),
    first_column=("only the first column counts: is the return in the loop?", lambda q: metrics.code_entropy(q[:, :1])),
    last_column=("only the last column counts: does each overwrite it?", lambda q: metrics.code_entropy(q[:, -1:])),
    without_signs=("a value and its negative are taken as the same.", lambda q: metrics.code_entropy(q.abs())),
    jointly=(
        "that is the entropy of whole rows; each column is coded by itself.",
        lambda q: torch.special.entr(q.unique(dim=0, return_counts=True)[1] / len(q)).sum().item(),
    ),
    number_of_values=(
        "it counts how many values there are, not how often each occurs.",
        lambda q: sum(math.log(len(p)) for p in fractions(q)),
    ),
    not_normalised=(
        "a sum of p log p needs fractions: do they sum to 1?",
        lambda q: -sum((p * len(q) * (p * len(q)).log()).sum().item() for p in fractions(q)),
    ),
    sum_of_logarithms=(
        "a rare value has as much weight as a frequent one: p stands before the logarithm, too.",
        lambda q: -sum(p.log().sum().item() for p in fractions(q)),
    ),
    counts_texts=(
        "0 and -0 are taken as different values.",
        lambda q: metrics.code_entropy(torch.where((q == 0) & q.signbit(), 0.5, q)),
    ),
)


@code_entropy.mistake("equal values are taken as different: two tensors are never the same key.")
def counts_tensors(q):
    counters = (collections.Counter(column) for column in q.T)
    return -sum(n / len(q) * math.log(n / len(q)) for counter in counters for n in counter.values())


@code_entropy.mistake("values that never occur have the term 0 · log 0, which counts as 0.")
def logarithm_of_nothing(q):
    p = [torch.bincount((column - column.min()).long(), minlength=99) / len(q) for column in q.T]
    return -sum((p * p.log()).sum().item() for p in p)


# 6.5 traverse

traverse = Exercise(
    "6.5",
    latent.traverse,
    hints=(
        "As many copies of z as there are values, one under the other; then one column is overwritten.",
        "z.repeat(steps, 1) copies; expand does not, and writing to it fails or changes every row.",
    ),
)


@traverse.check
def _(answer):
    for steps, latent_dim, dims in ((5, 4, (2, 0, 1, 3)), (1, 3, (1,)), (6, 6, (5,)), (11, 20, (13,))):
        z, values = torch.randn(latent_dim).round(), 10 * torch.rand(steps) - 5  # on the CPU, as in_batches gives them
        for dim in dims:
            what = f"with latent_dim = {latent_dim}, steps = {steps} and dim = {dim}, what it returns"
            path = call(answer, z, dim, values)
            require_tensor(path, (steps, latent_dim), what, device=z.device)
            require_same(path, latent.traverse(z, dim, values), what)


traverse.add_mistakes(
    adds=("the values are added; set the dimension to them.", lambda z, i, v: latent.traverse(z, i, z[i] + v)),
    multiplies=("the values are factors; set the dimension to them.", lambda z, i, v: latent.traverse(z, i, z[i] * v)),
    sets_all=("all dimensions are set, not one.", lambda z, i, v: v[:, None].repeat(1, len(z))),
    sets_nothing=("nothing changes: every row is z.", lambda z, i, v: z.repeat(len(v), 1)),
    counts_from_one=("the dimension before it is set: count from 0.", lambda z, i, v: latent.traverse(z, i - 1, v)),
    always_the_first=("dimension 0 is set, whichever is asked for.", lambda z, i, v: latent.traverse(z, 0, v)),
    others_are_zero=("all others are 0; they should stay as in z.", lambda z, i, v: latent.traverse(0 * z, i, v)),
    sorts=("the values come in another order.", lambda z, i, v: latent.traverse(z, i, v.sort().values)),
    one_row=(
        "every row is the last: are all one tensor?",
        lambda z, i, v: latent.traverse(z, i, v[-1:].expand(len(v))),
    ),
    transposed=("rows and columns are exchanged: a row is a latent code.", lambda z, i, v: latent.traverse(z, i, v).T),
    evenly_spaced=(
        "the values are evenly spaced from the first to the last; the given ones need not be.",
        lambda z, i, v: latent.traverse(z, i, torch.linspace(v[0], v[-1], len(v))),
    ),
)


@traverse.mistake("it writes into z itself: make a copy first.")
def sets_in_z(z, dim, values):
    path = []
    for value in values:
        z[dim] = value
        path.append(z.clone())
    return torch.stack(path)


@traverse.mistake("the rows of an expanded tensor share their memory: no single one can be written to.")
def expands(z, dim, values):
    path = z.expand(len(values), -1)
    path[:, dim] = values
    return path


@traverse.mistake("a row is set where a column is meant.")
def sets_a_row(z, dim, values):
    path = z.repeat(len(values), 1)
    path[dim] = values
    return path
