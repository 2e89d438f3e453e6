"""Checks of the second part of lesson 6."""

import math

import torch
from torch import nn

from aecourse.data import to_float
from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_number, require_tensor
from aecourse.metrics import information_gap, mutual_information
from aecourse.sprites import draw_sprites
from aecourse.training import in_batches


@check(
    "6b.1",
    mutual_information,
    hints=(
        "If b has m values, torch.bincount(a * m + b) counts pairs, and view makes a table: a row for each value of a.",
        "Divided by n it is p(a, b). Its sums along the two axes are p(a) and p(b), and their product is a table too.",
        "Leave out the pairs that never occur before you take the logarithm: 0 · log 0 counts as 0.",
    ),
)
def _mutual_information(answer):
    def information(a, b, what):
        nan = "pairs that never occur have the term 0 · log 0, which counts as 0."
        return require_number(call(answer, a, b), f"the information that {what}", nan)

    a, b = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 0, 1])
    out, wanted = information(a, b, "two variables share"), mutual_information(a, b)
    of_a, of_b = mutual_information(a, a), mutual_information(b, b)
    mistakes = (
        (wanted / math.log(2), f"it is {out:.3f} where {wanted:.3f} is right: those are bits."),
        (-wanted, "it is right but for its sign."),
        (6 * wanted, "it is 6 times too large for 6 pairs: counts are no probabilities yet."),
        (of_a + of_b - wanted, "that is the entropy of the pairs. The logarithm is of p(a, b) over p(a) · p(b)."),
        (of_a + of_b, "that is H(a) + H(b), the entropy of pairs that know nothing of each other."),
        (of_a, "that is H(a), all there is to know of a; how much of it does b tell?"),
        (of_b, "that is H(b), all there is to know of b; how much of it does a tell?"),
    )
    for mistake, message in mistakes:
        require(not close(out, mistake), message)
    uneven_a = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    uneven_b = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])
    for x, y, what in (
        (a, b, "0 0 1 1 2 2 and 0 0 1 1 0 1 share"),
        (uneven_a, uneven_b, "0 0 0 0 1 1 1 2 and 0 0 0 1 1 1 0 1 share"),
        (uneven_b, uneven_a, "0 0 0 1 1 1 0 1 and 0 0 0 0 1 1 1 2 share"),
    ):
        out, wanted = information(x, y, what), mutual_information(x, y)
        require(close(out, wanted), f"the information that {what} is {wanted:.4f} nats; yours is {out:.4f}.")
    gap = torch.tensor([0, 4, 4, 9, 9, 9])  # values that are left out
    out, wanted = information(gap, b, "share"), mutual_information(gap, b)
    require(close(out, wanted), f"where some values never occur it gives {out:.4f} nats instead of {wanted:.4f}.")
    same = torch.zeros(6, dtype=torch.int64)
    out = information(b, same, "share")
    require(close(out, 0), f"a variable that never changes tells nothing; yours gives it {out:.4f} nats.")
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randint(values, (10_000,), generator=generator) for values in (20, 40))
    out, wanted = information(a, b, "share"), mutual_information(a, b)
    require(
        abs(out - wanted) < 1e-4,
        f"of 10,000 pairs of 20 and 40 values it finds {out:.4f} nats instead of {wanted:.4f}: are rare pairs lost?",
    )


@check(
    "6b.2",
    information_gap,
    hints=(
        "Of each column you need the two largest numbers: topk(2, dim=…), or sort.",
        "Rows are numbers of the code, columns are factors: for each factor, look along axis 0.",
        "Every factor's gap is divided by that factor's own entropy.",
    ),
)
def _information_gap(answer):
    information = torch.tensor([[0.2, 0.1, 0.9], [1.2, 0.1, 0.4], [0.7, 0.0, 0.3], [0.1, 0.0, 0.7]])
    entropies = torch.tensor([1.0, 2.0, 4.0])
    out = call(answer, information, entropies)
    require(
        not (torch.is_tensor(out) and out.ndim == 0),
        "it is one number: leave the mean to others, and return the gap of every factor.",
    )
    require_tensor(out, (3,), "the gap for three factors and four numbers of the code")
    best, second, third, _ = information.sort(dim=0, descending=True).values
    rows = information.sort(dim=1, descending=True).values
    wanted = (best - second) / entropies
    mistakes = (
        (best - second, "it is right before the division: a gap is a share of the factor's entropy."),
        (-wanted, "it is right but for its sign: how far is the best ahead?"),
        (best / entropies, "that is the best number alone. A factor that two numbers know equally well has no gap."),
        ((best - third) / entropies, "that is the gap between the best and the third."),
        ((best - information.amin(dim=0)) / entropies, "that is the gap between the best and the worst."),
        ((best - information.mean(dim=0)) / entropies, "that is the gap between the best and the mean of all."),
        ((best - second) / best, "the gaps are divided by the best number's information, not by the entropies."),
        ((best - second) / entropies.sum(), "all gaps are divided by the sum of the entropies, not each by its own."),
        ((best - second) / entropies.max(), "all gaps are divided by the largest entropy, not each by its own."),
        ((information[0] - information[1]) / entropies, "that is row 0 minus row 1: the best two can be any rows."),
        ((rows[:3, 0] - rows[:3, 1]) / entropies, "it looks along the factors; the best two are numbers of the code."),
    )
    for mistake, message in mistakes:
        require(not close(out, mistake), message)
    yours = ", ".join(f"{number:.3f}" for number in out.tolist())
    require(close(out, wanted), f"the gaps of the check's three factors are 0.500, 0.000, 0.050; yours are {yours}.")
    information = torch.rand(10, 5)
    out = call(answer, information, torch.full((5,), 1.5))
    require_tensor(out, (5,), "the gap for five factors and ten numbers of the code")
    require(
        close(out, information_gap(information, torch.full((5,), 1.5))),
        "it is right for four numbers and three factors, wrong for ten and five.",
    )
    tie = torch.tensor([[0.7], [0.7], [0.1]])
    out = call(answer, tie, torch.ones(1))
    require_tensor(out, (1,), "the gap for one factor")
    require(close(out, 0.0), f"two numbers that know a factor equally well leave no gap; yours is {out.item():.2f}.")


def capacity_loss(reconstruction, kl, capacity, gamma=10.0):
    """mean reconstruction + gamma · |mean KL − capacity|: how far the batch's KL is from what it should be.

    reconstruction, kl: (batch,), in nats. capacity: in nats. Returns a scalar.
    Source: Burgess et al., "Understanding disentangling in β-VAE", 2018.
    """
    return reconstruction.mean() + gamma * (kl.mean() - capacity).abs()


@check(
    "6b.3",
    capacity_loss,
    hints=(
        "Take the gradient by kl. On which side of the capacity does it push down, and on which up?",
        "A distance is never negative. What does the formula have around KL − C?",
    ),
)
def _capacity_loss(answer):
    reconstruction = torch.tensor([40.0, 50.0, 30.0])
    kl = torch.tensor([3.0, 4.0, 8.0], requires_grad=True)  # 5 nats on average

    def loss(capacity, *gamma):
        out = call(answer, reconstruction, kl, capacity, *gamma)
        require(
            not (torch.is_tensor(out) and out.shape == (3,)), "it is a loss for each image; return one for the batch."
        )
        require_tensor(out, (), "the loss of a batch")
        require(out.requires_grad, "no gradient comes through: is there a detach, an item() or a no_grad?")
        return out

    below = loss(7.0)
    require(
        not close(below.detach(), 20.0),
        "with 5 nats of KL where 7 are wanted the loss is 20, less than the reconstruction alone: being below the "
        "capacity is rewarded.",
        Bug,
    )
    require(
        not close(below.detach(), 40.0),
        "with 5 nats of KL where 7 are wanted nothing is charged: below the capacity it should cost as much as above.",
    )
    per_image = 40 + 10 * (4 + 3 + 1) / 3
    require(
        not close(below.detach(), per_image),
        "every single image is held to the capacity; it is the mean over the batch that should reach it.",
    )
    require(
        not close(below.detach(), 80.0),
        "the distance is squared: far from the capacity that is steep, near it there is hardly a slope left.",
    )
    require(not close(below.detach(), 120 + 80.0), "it adds up the batch: twice the images would cost twice as much.")
    require(not close(below.detach(), 42.0), "the distance from the capacity is not multiplied by gamma.")
    require(
        close(below.detach(), 60.0),
        f"reconstruction 40, KL 5, capacity 7, gamma 10 make a loss of 60; yours is {below.item():.4g}.",
    )
    for capacity, slope, where in ((7.0, -10.0, "below"), (2.0, 10.0, "above")):
        (gradient,) = torch.autograd.grad(loss(capacity), kl, allow_unused=True)
        pushed = 0.0 if gradient is None else gradient.sum().item()
        require(
            close(pushed, slope),
            f"{where} the capacity the gradient of the mean KL is {slope:.0f}; yours is {pushed:.3g}.",
        )
    above = loss(2.0).item()
    require(
        close(above, 70.0), f"reconstruction 40, KL 5, capacity 2, gamma 10 make a loss of 70; yours is {above:.4g}."
    )
    other = loss(7.0, 3.0).item()
    require(close(other, 46.0), f"with gamma=3 it is {other:.4g}, not 46: is gamma used?")
    at_tensor = loss(torch.tensor(7.0)).item()
    require(close(at_tensor, 60.0), f"with a capacity that is a tensor it is {at_tensor:.4g}, not 60.")


def larger_spread():
    """Nine models, three methods with three seeds each. Where does the variance of MIG lie?

    "methods": more than half of it between the methods.
    "seeds": more than half of it between the seeds of a method.
    """
    return "seeds"


@check(
    "6b.4",
    larger_spread,
    hints=(
        "Nothing in these losses says which directions of the code should be the axes. What decides it, then?",
        "Locatello et al. (2019) trained more than 12,000 models. What does the title of their paper challenge?",
    ),
    prediction=True,
)
def _larger_spread(answer):
    choice = require_choice(answer, "methods", "seeds")
    require(
        choice != "methods",
        "the three methods weigh the same two terms differently; neither term knows an axis. Run on and compare.",
    )


def attribute_vector(model, factors, factor, low, high):
    """How the mean code moves when one factor goes from low to high and all others stay.

    factors: (n, 5) int64 of sprites; column `factor` is replaced, first by low, then by high.
    Returns (latent,): the posterior means of the n sprites with high minus those with low, averaged.
    """
    codes = []
    for value in (low, high):
        changed = factors.clone()
        changed[:, factor] = value
        mu, _ = in_batches(model.encode, draw_sprites(changed))
        codes.append(mu)
    return (codes[1] - codes[0]).mean(dim=0)


class _Encoder(nn.Module):
    """An encoder that tells apart ink and place, and the spread from the mean."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def encode(self, x):
        """(batch, 1, 32, 32) → mu: ink and centre of mass; logvar: other numbers."""
        ink = x.sum(dim=(1, 2, 3)) * self.scale
        places = torch.linspace(-1, 1, 32, device=x.device)
        across = (x.sum(dim=2)[:, 0] * places).sum(dim=1) / ink
        down = (x.sum(dim=3)[:, 0] * places).sum(dim=1) / ink
        mu = torch.stack([ink / 10, across * (1 + ink / 100), down * (2 + across)], dim=1)
        return mu, 3 + 0.1 * mu


@check(
    "6b.5",
    attribute_vector,
    hints=(
        "Make a copy of the factors with clone, and put low into the whole column. Then another with high.",
        "draw_sprites makes the images, in_batches(model.encode, images) gives mu and logvar.",
        "Subtract the mean codes of low from those of high, and average over the sprites.",
    ),
)
def _attribute_vector(answer):
    model = _Encoder()
    values = (3, 6, 40, 32, 32)
    factors = torch.stack([torch.randint(count, (60,)) for count in values], dim=1)

    def move(factors, *which):
        out = call(answer, model, factors, *which)
        require(
            not isinstance(out, tuple), "it is a tuple: encode returns mu and logvar, and only mu is the mean code."
        )
        require_tensor(out, (3,), "the vector for a model with three numbers in its code")
        require(not out.requires_grad, "it carries gradients: in_batches, or no_grad, leaves them out.")
        return out

    for factor, low, high, name in ((1, 0, 5, "size"), (3, 4, 28, "x"), (4, 20, 10, "y")):
        out, wanted = move(factors, factor, low, high), attribute_vector(model, factors, factor, low, high)
        yours = ", ".join(f"{number:.3f}" for number in out.tolist())
        mu_of = {}
        for value in (low, high):
            changed = factors.clone()
            changed[:, factor] = value
            mu_of[value] = model.encode(to_float(draw_sprites(changed)))[0].detach()
        mistakes = (
            (-wanted, f"for {name} from {low} to {high} it points the wrong way: high minus low."),
            (0.1 * wanted, f"for {name} it is ten times too short: this model's logvar is that, its mu is not."),
            (wanted * len(factors), f"for {name} it is {len(factors)} times too long: a sum over the sprites."),
            (torch.zeros(3), f"for {name} it is 0: are both sets of images drawn from their own factors?"),
            (mu_of[high].mean(dim=0), f"for {name} it is the mean code of high alone."),
            (mu_of[high][0] - mu_of[low][0], f"for {name} it is the difference of the first sprite, not of all."),
            (wanted / wanted.norm(), f"for {name} it has length 1: its length is what high and low differ by."),
            (wanted / (high - low), f"for {name} it is the move of one step; from {low} to {high} is wanted."),
        )
        for mistake, message in mistakes:
            require(not torch.allclose(out, mistake, rtol=1e-3, atol=1e-5), message)
        agree = torch.allclose(out, wanted, rtol=1e-3, atol=1e-4)
        expected = ", ".join(f"{number:.3f}" for number in wanted.tolist())
        require(
            agree,
            f"for {name} from {low} to {high} the check's model moves by {expected}; yours by {yours}. "
            f"Does anything but {name} change between the two sets?",
        )
    one = factors[:1]
    require(
        torch.allclose(move(one, 1, 0, 5), attribute_vector(model, one, 1, 0, 5), rtol=1e-3, atol=1e-4),
        "it is right for sixty sprites and wrong for one.",
    )
