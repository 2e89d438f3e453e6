"""Exercises of lesson 6, part 2."""

import math

import torch
from torch import nn

from aecourse import latent, losses, metrics
from aecourse.data import FACTORS, draw_sprites, to_float
from aecourse.exercises.checks import (
    Exercise,
    call,
    computed,
    prediction,
    require,
    require_number,
    require_same,
    require_same_gradients,
    require_tensor,
)
from aecourse.training import default_device, in_batches

# 6b.1 mutual_information

mutual_information = Exercise(
    "6b.1",
    metrics.mutual_information,
    hints=(
        "If b has m values, torch.bincount(a * m + b) counts pairs; view makes a table: a row for each value of a.",
        "Divided by n it is p(a, b). Its sums along the axes are the marginals. Their product is a table, too.",
        "Leave out the pairs that never occur before you take the logarithm: 0 · log 0 counts as 0.",
    ),
)


@mutual_information.check
def _(answer):
    a, b = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])
    many, few = torch.randint(50, (10_000,)), torch.randint(30, (10_000,))
    for x, y, what in (  # on the CPU, as latent codes from in_batches and factors are
        (a, b, "0 0 0 0 1 1 1 2 and 0 0 0 1 1 1 0 1"),
        (b, a, "0 0 0 1 1 1 0 1 and 0 0 0 0 1 1 1 2"),
        (a, a, "0 0 0 0 1 1 1 2 and itself"),
        (37 * a, b + 60, "two variables, of which some values never occur,"),
        (a, 0 * a, "a variable and a constant"),
        (0 * a + 3, b, "a constant and a variable"),
        (a[-1:], b[-1:], "two variables seen in one pair only"),
        (many, (many + few) % 45, "10,000 pairs of 50 and 45 values"),
        (few, many, "10,000 independent pairs of 30 and 50 values"),
    ):
        what = f"the mutual information of {what}"
        result = require_number(call(answer, x, y), what)
        require_same(result, metrics.mutual_information(x, y), what, atol=1e-5)


def table(a, b):
    """p(a, b), and p(a) · p(b) of the same shape."""
    joint = torch.zeros(int(a.max()) + 1, int(b.max()) + 1)
    joint.index_put_((a, b), torch.ones(len(a)) / len(a), accumulate=True)
    return joint, joint.sum(dim=1, keepdim=True) * joint.sum(dim=0)


def entropy(p):
    return torch.special.entr(p).sum().item()


mutual_information.add_mistakes(
    in_bits=("those are bits; nats are wanted.", lambda a, b: metrics.mutual_information(a, b) / math.log(2)),
    negative=("mutual information is never negative.", lambda a, b: -metrics.mutual_information(a, b)),
    counts=("counts are not yet probabilities.", lambda a, b: len(a) * metrics.mutual_information(a, b)),
    entropy_of_a=("that is only the entropy of a.", lambda a, b: metrics.mutual_information(a, a)),
    entropy_of_b=("that is only the entropy of b.", lambda a, b: metrics.mutual_information(b, b)),
    joint_entropy=("that is the entropy of the pairs.", lambda a, b: entropy(table(a, b)[0])),
    independent=("that is the entropy that independent pairs would have.", lambda a, b: entropy(table(a, b)[1])),
    zero_log_zero=(
        "pairs that never occur have the term 0 · log 0, which counts as 0.",
        lambda a, b: (table(a, b)[0] * (table(a, b)[0] / table(a, b)[1]).log()).sum().item(),
    ),
    weighs_by_the_product=(
        "every term is weighted by p(a) · p(b); the formula has p(a, b) before the logarithm.",
        lambda a, b: (table(a, b)[1] * (table(a, b)[0] / table(a, b)[1]).clamp(min=1e-9).log()).sum().item(),
    ),
    conditional=(
        "p(a, b) is divided by one of p(a) and p(b) only; divide by both.",
        lambda a, b: entropy(table(a, b)[0]) - metrics.mutual_information(a, a),
    ),
)


@mutual_information.mistake("a small constant added to the probabilities changes them; leave out what never occurs.")
def small_constant_added(a, b):
    joint = table(a, b)[0] + 0.01
    return (joint * (joint / (joint.sum(dim=1, keepdim=True) * joint.sum(dim=0))).log()).sum().item()


@mutual_information.mistake("different pairs are counted as one: a * m + b is unique only if b has at most m values.")
def counts_with_the_values_of_a(a, b):
    values = int(a.max()) + 1
    joint = torch.bincount(a * values + b, minlength=values * (values + int(b.max()))) / len(a)
    joint = joint.view(-1, values)
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0)
    return (torch.xlogy(joint, joint) - torch.xlogy(joint, independent)).sum().item()


@mutual_information.mistake("rare pairs are left out.")
def drops_rare_pairs(a, b):
    joint, independent = table(a, b)
    return (joint * (joint / independent).log())[joint > 0.0012].sum().item()


# 6b.2 information_gap

gap = Exercise(
    "6b.2",
    metrics.information_gap,
    hints=(
        "Of each column you need the two largest values: topk(2, dim=…), or sort.",
        "Rows are latent dimensions, columns are factors: for each factor, look along axis 0.",
        "Every factor's gap is divided by that factor's own entropy.",
    ),
)


@gap.check
def _(answer):
    mixed = torch.tensor([[0.2, 0.1, 0.9], [1.2, 0.1, 0.4], [0.7, 0.0, 0.3], [0.1, 0.0, 0.7]])
    for information, what in (
        (mixed, "four latent dimensions and three factors"),
        (2 * torch.rand(10, 5), "ten latent dimensions and five factors"),
        (torch.rand(2, 6), "two latent dimensions and six factors"),
        (torch.tensor([[0.7], [0.7], [0.1]]), "one factor on which two latent dimensions are equally informative"),
        (torch.zeros(3, 2), "two factors on which no latent dimension is informative"),
    ):
        entropies = torch.linspace(0.4, 4, information.shape[1])
        result, what = call(answer, information, entropies), f"for {what}, what it returns"
        require_tensor(result, entropies.shape, what, device=information.device)
        require_same(result, metrics.information_gap(information, entropies), what)


def ranked(information, dim=0):
    return information.sort(dim=dim, descending=True).values


gap.add_mistakes(
    mean_already=(
        "it is one number; the gap of each factor is wanted.",
        lambda i, h: metrics.information_gap(i, h).mean(),
    ),
    forgets_the_entropy=("a gap is a fraction of the entropy.", lambda i, h: ranked(i)[0] - ranked(i)[1]),
    smallest_first=("a gap is never negative.", lambda i, h: -metrics.information_gap(i, h)),
    best_alone=("that is only the best latent dimension.", lambda i, h: i.amax(dim=0) / h),
    counts_from_zero=("that is the gap from the best to the third.", lambda i, h: (ranked(i)[0] - ranked(i)[2]) / h),
    range_of_all=("that is the gap from the best to the worst.", lambda i, h: (i.amax(dim=0) - i.amin(dim=0)) / h),
    against_the_mean=("that is the gap from the best to the mean.", lambda i, h: (i.amax(dim=0) - i.mean(dim=0)) / h),
    by_the_best=("gaps are divided by the best information.", lambda i, h: metrics.information_gap(i, i.amax(dim=0))),
    by_the_sum=("gaps are divided by the sum of the entropies.", lambda i, h: metrics.information_gap(i, h.sum())),
    by_the_largest=("gaps are divided by the largest entropy.", lambda i, h: metrics.information_gap(i, h.max())),
    forgets_to_sort=("the best two can be any rows, not just the first.", lambda i, h: (i[0] - i[1]) / h),
    wrong_axis=(
        "for each latent dimension it compares factors; for each factor, compare latent dimensions.",
        lambda i, h: (ranked(i, 1)[:, 0] - ranked(i, 1)[:, 1]) / h,
    ),
    wipes_out_all_of_the_best=(
        "where two latent dimensions are equally informative, the second best is as good as the best.",
        lambda i, h: (i.amax(dim=0) - torch.where(i == i.amax(dim=0), 0.0, i).amax(dim=0)) / h,
    ),
)


@gap.mistake("it overwrites information, which the lesson still needs: make a copy first.")
def wipes_out_the_best(information, entropies):
    best = information.amax(dim=0)
    information[information == best] = 0
    return (best - information.amax(dim=0)) / entropies


# 6b.3 capacity_loss

capacity_loss = Exercise(
    "6b.3",
    losses.capacity_loss,
    hints=(
        "Take the gradient with respect to kl. On which side of the capacity does it lower the KL, on which raise it?",
        "A distance is never negative. What does the formula have around KL − C?",
    ),
)


@capacity_loss.check
def _(answer):
    device = default_device()
    for n, numbers in (
        (3, (7.3,)),
        (3, (2.4,)),
        (1, (5.6, 3.7)),
        (64, (torch.tensor(4.6, device=device), 0.6)),
        (5, (torch.tensor(0.0, device=device),)),
    ):
        reconstruction = computed(40 + 300 * torch.rand(n, device=device))
        kl = computed(torch.linspace(2, 8.5, n, device=device))
        listed = ", ".join(f"{number:.1f}" for number in numbers)
        what = f"capacity_loss(…, {listed}) of a batch of {n} with a mean KL of {kl.mean():.2f}"
        result, right = call(answer, reconstruction, kl, *numbers), losses.capacity_loss(reconstruction, kl, *numbers)
        require_tensor(result, (), what, device=device)
        require_same(result, right, what)
        require_same_gradients(result, right, {"reconstruction": reconstruction, "kl": kl}, what)


@capacity_loss.given("a batch whose KL is below the capacity has a loss smaller than its reconstruction term.")
def the_bug_itself(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity)


def away(kl, capacity):
    return (kl.mean() - capacity).abs()


capacity_loss.add_mistakes(
    one_sided=(
        "below the capacity there is no penalty.",
        lambda r, kl, c, g=10.0: r.mean() + g * (kl.mean() - c).relu(),
    ),
    per_image=("each image's KL is held at the capacity.", lambda r, kl, c, g=10.0: (r + g * (kl - c).abs()).mean()),
    squared=("near the capacity the gradient is near 0.", lambda r, kl, c, g=10.0: r.mean() + g * away(kl, c) ** 2),
    of_each_image=("it is a loss for each image, not a scalar.", lambda r, kl, c, g=10.0: r + g * away(kl, c)),
    sums=("a batch repeated twice has another loss.", lambda r, kl, c, g=10.0: r.sum() + g * (kl.sum() - c).abs()),
    forgets_gamma=("gamma has no effect: it is always 1.", lambda r, kl, c, g=10.0: r.mean() + away(kl, c)),
    gamma_is_ten=("gamma has no effect: it is always 10.", lambda r, kl, c, g=10.0: losses.capacity_loss(r, kl, c)),
    gamma_on_both=("gamma weights the reconstruction, too.", lambda r, kl, c, g=10.0: g * (r.mean() + away(kl, c))),
    forgets_the_capacity=("the loss is the same at any capacity.", lambda r, kl, c, g=10.0: r.mean() + g * kl.mean()),
    kl_only=("the reconstruction has no weight.", lambda r, kl, c, g=10.0: g * away(kl, c) + 0 * r.mean()),
    detaches_kl=("no gradient reaches the KL.", lambda r, kl, c, g=10.0: losses.capacity_loss(r, kl.detach(), c, g)),
    detaches_r=("reconstruction has no gradient.", lambda r, kl, c, g=10.0: losses.capacity_loss(r.detach(), kl, c, g)),
)

# 6b.4 methods or seeds?

prediction(
    "6b.4",
    answer="seeds",
    replies={
        "methods": "the three methods weight the same two terms differently; neither term prefers an axis. "
        "Run on and compare."
    },
    hints=(
        "Nothing in these losses says which directions of the latent space become the axes. What decides it, then?",
        "Locatello et al. (2019) trained more than 12,000 models. What does the title of their paper challenge?",
    ),
)

# 6b.5 attribute_vector

attribute = Exercise(
    "6b.5",
    latent.attribute_vector,
    hints=(
        "Make a copy of the factors with clone, and put low into the whole column. Then another with high.",
        "draw_sprites makes the images, in_batches(model.encode, images) gives mu and logvar.",
        "Subtract the mean latent codes of low from those of high, and average over the sprites.",
    ),
)


class SpriteEncoder(nn.Module):
    """A small encoder with batch norm and dropout, in evaluation mode, as fit leaves a model."""

    def __init__(self, latent_dim):
        super().__init__()
        hidden = nn.Sequential(nn.Linear(1024, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.body = nn.Sequential(nn.Flatten(), hidden, nn.Linear(16, 2 * latent_dim))
        nn.init.normal_(self.body[-1].weight)
        self.encode(to_float(draw_sprites(some_factors(20))))  # gives batch norm its statistics
        self.eval().to(default_device())

    def encode(self, x):
        return self.body(x).chunk(2, dim=1)


def some_factors(n):
    return torch.stack([torch.randint(count, (n,)) for count in FACTORS.values()], dim=1)


@attribute.check
def _(answer):
    names = list(FACTORS)
    for n, latent_dim, factor, low, high in (
        (40, 3, 1, 0, 5), (40, 3, 3, 28, 4), (1, 4, 4, 20, 10), (90, 10, 0, 0, 2), (30, 2, 2, 0, 10),
    ):  # fmt: skip
        model, factors = SpriteEncoder(latent_dim), some_factors(n)
        result = call(answer, model, factors, factor, low, high)
        what = f"for {n} sprites whose {names[factor]} goes from {low} to {high}, the vector"
        require_tensor(result, (latent_dim,), what, device="cpu")
        right = latent.attribute_vector(model, factors, factor, low, high)
        require_same(result, right, what, rtol=1e-3, atol=1e-5)
        require(not result.requires_grad, f"{what} carries gradients; in_batches, or no_grad, leaves them out.")


def encoded(model, factors, factor, value, output=0):
    """mu (output 0) or logvar (1) of the sprites with one factor replaced."""
    changed = factors.clone()
    changed[:, factor] = value
    return in_batches(model.encode, draw_sprites(changed))[output]


def moved(model, factors, factor, low, high, output=0):
    return encoded(model, factors, factor, high, output) - encoded(model, factors, factor, low, output)


attribute.add_mistakes(
    low_minus_high=("it points from high to low.", lambda *case: -latent.attribute_vector(*case)),
    sums=("it is a sum over the sprites; take the mean.", lambda *case: moved(*case).sum(dim=0)),
    takes_logvar=("it is the change of logvar; the mean is mu.", lambda *case: moved(*case, output=1).mean(dim=0)),
    first_only=("it is the change of the first sprite only.", lambda *case: moved(*case)[0]),
    keeps_all=("it is a vector for each sprite; take the mean.", lambda *case: moved(*case)),
    mean_over_dimensions=("the mean is over latent dimensions, not sprites.", lambda *case: moved(*case).mean(dim=1)),
    unit_length=(
        "its length is 1; how far the latent code moves is lost.",
        lambda *case: nn.functional.normalize(moved(*case).mean(0), dim=0),
    ),
    per_step=(
        "it is the change for one step of the factor.",
        lambda *case: moved(*case).mean(dim=0) / (case[4] - case[3]),
    ),
    high_alone=(
        "low is left out: that is the mean latent code at high.",
        lambda m, f, i, low, high: encoded(m, f, i, high).mean(0),
    ),
    from_as_given=(
        "it starts from the sprites as they are given, not from low.",
        lambda m, f, i, low, high: (encoded(m, f, i, high) - encoded(m, f, i, f[:, i])).mean(dim=0),
    ),
    always_the_size=(
        "the size changes, whichever factor is asked for.",
        lambda m, f, i, low, high: latent.attribute_vector(m, f, 1, min(low, 5), min(high, 5)),
    ),
    both_outputs=(
        "it is a pair: encode returns mu and logvar, and only mu is the mean.",
        lambda m, f, i, low, high: (moved(m, f, i, low, high).mean(dim=0), moved(m, f, i, low, high, 1).mean(dim=0)),
    ),
)


@attribute.mistake("low and high give the same latent codes: are both written into one tensor?")
def the_same_tensor_twice(model, factors, factor, low, high):
    small = large = factors.clone()
    small[:, factor] = low
    large[:, factor] = high
    return (in_batches(model.encode, draw_sprites(large))[0] - in_batches(model.encode, draw_sprites(small))[0]).mean(0)


@attribute.mistake("it writes into the factors it was given: make a copy first.")
def forgets_to_copy(model, factors, factor, low, high):
    means = []
    for value in (low, high):
        factors[:, factor] = value
        means.append(in_batches(model.encode, draw_sprites(factors))[0].mean(dim=0))
    return means[1] - means[0]


@attribute.mistake("high and low come from different sprites, which differ in more than this factor.")
def unmatched(model, factors, factor, low, high):
    half = (len(factors) + 1) // 2
    z_low, z_high = encoded(model, factors[-half:], factor, low), encoded(model, factors[:half], factor, high)
    return z_high.mean(dim=0) - z_low.mean(dim=0)
