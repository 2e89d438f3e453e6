"""Exercises of lesson 8."""

import math

import torch
from torch.nn import functional as F

from aecourse import metrics, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    computed,
    observe,
    prediction,
    require,
    require_number,
    require_same,
    require_same_gradients,
    require_tensor,
)
from aecourse.training import default_device

# 8.1 causal_mask

mask_ = Exercise(
    "8.1",
    models.causal_mask,
    hints=(
        "Row t, column s: s may be t or less. Compare two torch.arange(n), one of them as a column.",
        "torch.tril keeps a matrix on and below its diagonal.",
    ),
)


@mask_.check
def _(answer):
    for n in (6, 49, 1):
        what = f"the mask of {n} positions"
        mask = call(answer, n)
        require_tensor(mask, (n, n), what, torch.bool)
        require_same(mask, models.causal_mask(n), f"with true as 1, {what}")
        mask.logical_not_()  # a mask kept as a buffer may be changed
        require_same(call(answer, n), models.causal_mask(n), f"after the first has been changed, {what}")


@mask_.mistake("position 0 attends to all the others, the last one only to itself: rows attend to columns.")
def upper_triangle(n):
    return torch.ones(n, n, dtype=torch.bool).triu()


@mask_.mistake("true and false are exchanged: true should mean that a position may attend.")
def exchanged(n):
    return torch.ones(n, n, dtype=torch.bool).triu(1)


@mask_.mistake("a position does not attend to itself. Position 0 attends to nothing: a softmax over nothing is nan.")
def without_itself(n):
    return torch.ones(n, n, dtype=torch.bool).tril(-1)


@mask_.mistake("each position attends to the next one: that holds the code that it has to predict.")
def one_too_far(n):
    return torch.ones(n, n, dtype=torch.bool).tril(1)


@mask_.mistake("every position attends to all positions, the future too.")
def everything(n):
    return torch.ones(n, n, dtype=torch.bool)


@mask_.mistake("it holds 0 and -inf, numbers to be added to the scores; here a mask is true or false.")
def additive(n):
    return torch.full((n, n), -torch.inf).triu(1)


@mask_.mistake(
    "it holds ones and zeros; booleans are wanted: with numbers, ~ and masked_fill do something else or fail."
)
def ones_and_zeros(n):
    return torch.ones(n, n).tril()


# 8.2 attention

attention = Exercise(
    "8.2",
    models.attention,
    hints=(
        "The scores are q @ k.transpose(-1, -2), (..., n, m), divided by the square root of d = q.shape[-1].",
        "A masked position should get the weight 0, and the weights of the others should still sum to 1. Which score "
        "has a weight of exactly 0 after the softmax? masked_fill puts it there.",
        "Rows are queries: the softmax runs over the columns, the keys, dim=-1. The weights @ v are the answer.",
    ),
)


@attention.check
def _(answer):
    device = default_device()
    for batch, n, m, d, largest in (
        ((3, 2), 5, 5, 7, 0),
        ((), 3, 6, 2, 0),
        ((2, 3, 4), 1, 8, 5, 0),
        ((4,), 6, 6, 3, 1000),
        ((2, 4), 49, 49, 16, 0),
        ((1, 1), 3, 4, 6, 0),
    ):
        mask = torch.rand(n, m) < 0.5
        mask[:, -1] = True  # every query attends to something
        mask[0] = torch.arange(m) % 2 == (m - 1) % 2
        mask = (models.causal_mask(n) if n == m and not largest else mask).to(device)
        shapes = ((*batch[:1], count, *batch[1:], d) for count in (n, m, m))
        q, k, v = (torch.randn(shape).movedim(len(batch[:1]), -2) for shape in shapes)  # in memory as in a Block
        for x in (q, k) if largest else ():  # scores are far above or below 0; query 0 attends to the latter only
            x[..., 0] = (largest * d**0.5) ** 0.5 * (-1.0) ** torch.arange(x.shape[-2])
        q, k, v = (computed(x.to(device)) for x in (q, k, v))
        size = f" with scores of ±{largest}" if largest else ""
        what = f"for {n} queries and {m} keys of dimension {d}{size}, what it returns"
        result, right = call(answer, q, k, v, mask), models.attention(q, k, v, mask)
        require_tensor(result, (*batch, n, d), what, device=device)
        require_same(result, right, what, rtol=1e-3, atol=2e-3 if largest else 1e-4)  # such scores are exact to 1e-4
        rtol = 0.05 if largest else 1e-3  # and their gradients to a few per cent of the largest
        require_same_gradients(result, right, {"q": q, "k": k, "v": v}, what, rtol=rtol)


def scores_of(q, k):
    return q @ k.mT / q.shape[-1] ** 0.5


def attend(scores, v, mask):
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention.mistake("whatever the mask says, every position attends to all, the future included.")
def forgets_the_mask(q, k, v, mask):
    return scores_of(q, k).softmax(dim=-1) @ v


@attention.mistake("the scores are not divided by √d.")
def forgets_the_root(q, k, v, mask):
    return attend(q @ k.mT, v, mask)


@attention.mistake("the scores are divided by d, not by its square root.")
def divides_by_d(q, k, v, mask):
    return attend(q @ k.mT / q.shape[-1], v, mask)


@attention.mistake("a position attends to itself and to the future: is the mask transposed?")
def turned_mask(q, k, v, mask):
    return attend(scores_of(q, k), v, mask.mT)


@attention.mistake("each position attends to what the mask forbids: true in the mask means may attend.")
def exchanged_mask(q, k, v, mask):
    return attend(scores_of(q, k), v, ~mask)


@attention.mistake("it is nan: 0 multiplied by infinity is not 0.")
def mask_times_infinity(q, k, v, mask):
    return (scores_of(q, k) + (~mask) * -torch.inf).softmax(dim=-1) @ v


@attention.mistake(
    "weights of masked positions are set to 0 after the softmax: the others then sum to less than 1, and masked "
    "scores still have an effect."
)
def masks_the_weights(q, k, v, mask):
    return scores_of(q, k).softmax(dim=-1).masked_fill(~mask, 0) @ v


@attention.mistake("masked scores are set to 0. A score of 0 still gets a weight: e⁰ = 1.")
def zero_scores(q, k, v, mask):
    return (scores_of(q, k) * mask).softmax(dim=-1) @ v


@attention.mistake("the softmax runs over the queries; for each query, the weights of the keys should sum to 1.")
def wrong_axis(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask, -torch.inf).softmax(dim=-2) @ v


@attention.mistake("q and k are exchanged: rows of the scores belong to q.")
def exchanged_q_and_k(q, k, v, mask):
    return attend(scores_of(k, q), v, mask)


@attention.mistake("there is no softmax: scores are not yet weights.")
def no_softmax(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask, 0) @ v


@attention.mistake("it makes a mask of its own, whatever the given one says: not every mask is causal.")
def ignores_the_given_mask(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@attention.mistake(
    "the exponential of a large score overflows or underflows. softmax is stable for scores of any size."
)
def bare_exponentials(q, k, v, mask):
    weights = scores_of(q, k).exp() * mask
    return weights / weights.sum(dim=-1, keepdim=True) @ v


@attention.mistake("a masked score of -100 is not low enough: an unmasked one may be lower still.")
def not_low_enough(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask, -100.0).softmax(dim=-1) @ v


@attention.mistake("the weights are right, but detached: no gradient reaches q and k.")
def detached_weights(q, k, v, mask):
    return attend(scores_of(q, k).detach(), v, mask)


@attention.mistake("it works for four axes only; (..., n, d) has any number of them.")
def four_axes_only(q, k, v, mask):
    batch, heads, n, d = q.shape
    return attend(scores_of(q, k), v, mask)


# 8.3 shift

shift = Exercise(
    "8.3",
    models.shift,
    hints=(
        "Write down three codes a b c and what is known when each is to be predicted. For the first: only the start "
        "token.",
        "The second: the start token and a. So which code is never an input?",
        "start[:, None] is a column; torch.cat puts it before a part of the codes.",
    ),
)


@shift.check
def _(answer):
    device = default_device()
    for batch, n in ((3, 5), (2, 49), (1, 4), (6, 1)):
        codes = torch.stack([torch.randperm(128)[:n] for _ in range(batch)]).to(device)
        start = 128 + torch.randperm(10)[:batch].to(device)
        inputs = call(answer, codes, start)
        require_tensor(inputs, (batch, n), f"for a batch of {batch} with {n} codes, the inputs", torch.int64, device)
        wrong = (inputs != models.shift(codes, start)).any(dim=1).tolist()
        if any(wrong):
            row = wrong.index(True)
            listed, got = (" ".join(map(str, x[row, :8].tolist())) for x in (codes, inputs))
            require(False, f"for the codes {listed} and the start token {start[row]}, the inputs are {got}.")


@shift.given("where a code has to be predicted, that very code is the input: the loss falls to nearly 0 by copying.")
def the_bug_itself(codes, start):
    inputs = codes.clone()
    inputs[:, 0] = start
    return inputs


@shift.mistake("the input at each position is the code after the one to be predicted.")
def the_other_way(codes, start):
    return torch.cat([codes[:, 1:], start[:, None]], dim=1)


@shift.mistake("the first input is the last code, and the class is nowhere among the inputs.")
def rolled(codes, start):
    return codes.roll(1, dims=1)


@shift.mistake("there is one input more than there are codes: the last position has nothing to predict.")
def one_longer(codes, start):
    return torch.cat([start[:, None], codes], dim=1)


@shift.mistake("there is one input fewer than there are codes: what is known when the first one has to be predicted?")
def one_shorter(codes, start):
    return codes[:, :-1]


@shift.mistake("the code just before is not an input: the codes are shifted by two positions.")
def shifted_by_two(codes, start):
    return models.shift(models.shift(codes, start), start)


@shift.mistake("all images get the start token of the first, whatever their class.")
def one_start_for_all(codes, start):
    return torch.cat([start[0].expand(len(codes), 1), codes[:, :-1]], dim=1)


@shift.mistake("the first input is 0. That is a code, and it does not depend on the class.")
def padded_with_zero(codes, start):
    return F.pad(codes[:, :-1], (1, 0))


@shift.mistake("it changes the codes themselves, and the loss still has to compare with them.")
def in_place(codes, start):
    codes[:, 1:] = codes[:, :-1].clone()
    codes[:, 0] = start
    return codes


# 8.4 bits_per_image

bits = Exercise(
    "8.4",
    metrics.bits_per_image,
    hints=(
        "A code that is one of two equally likely ones carries log 2 = 0.693 nats, which is one bit.",
        "An image has `positions` codes. Its class is transmitted once, not with every code.",
        "One of `num_classes` equally frequent classes takes log2(num_classes) bits: 0 for one class, 1 for two.",
    ),
)


@bits.check
def _(answer):
    for nats, options in (
        (0.9, {"positions": 11, "num_classes": 6}),
        (4.85, {"positions": 30, "num_classes": 100}),
        (1.03, {"num_classes": 10}),
        (1.7, {}),
        (0.0, {"positions": 3, "num_classes": 2}),
        (30.0, {"positions": 1}),
    ):
        listed = "".join(f", {name}={value}" for name, value in options.items())
        what = f"bits_per_image({nats}{listed})"
        require_same(require_number(call(answer, nats, **options), what), metrics.bits_per_image(nats, **options), what)


@bits.mistake("those are nats. How many nats is a bit?")
def stays_in_nats(nats_per_code, positions=49, num_classes=1):
    return nats_per_code * positions + math.log(num_classes)


@bits.mistake("nats are multiplied by log 2. A bit is less than a nat, so there should be more bits than nats.")
def multiplies(nats_per_code, positions=49, num_classes=1):
    return nats_per_code * positions * math.log(2) + math.log2(num_classes)


@bits.mistake("that counts one code; an image has `positions` of them.")
def of_one_code(nats_per_code, positions=49, num_classes=1):
    return nats_per_code / math.log(2) + math.log2(num_classes)


@bits.mistake("the nats of a code are divided by the number of codes; they are a mean already.")
def divides_by_positions(nats_per_code, positions=49, num_classes=1):
    return nats_per_code / positions / math.log(2) + math.log2(num_classes)


@bits.mistake("it always counts 49 codes; an image has `positions` of them.")
def forty_nine_always(nats_per_code, positions=49, num_classes=1):
    return nats_per_code * 49 / math.log(2) + math.log2(num_classes)


@bits.mistake("the bits of the class are forgotten.")
def forgets_the_class(nats_per_code, positions=49, num_classes=1):
    return nats_per_code * positions / math.log(2)


@bits.mistake("the class is counted in nats, the codes in bits.")
def class_in_nats(nats_per_code, positions=49, num_classes=1):
    return nats_per_code * positions / math.log(2) + math.log(num_classes)


@bits.mistake("it adds one bit for each class; how many bits does it take to transmit one of them?")
def adds_the_classes(nats_per_code, positions=49, num_classes=1):
    return nats_per_code * positions / math.log(2) + (num_classes if num_classes > 1 else 0)


@bits.mistake("the class is transmitted with every code; once is enough.")
def class_with_every_code(nats_per_code, positions=49, num_classes=1):
    return positions * (nats_per_code / math.log(2) + math.log2(num_classes))


@bits.mistake("the bits of the class are divided by log 2, too: log2 gives bits already.")
def divides_everything(nats_per_code, positions=49, num_classes=1):
    return (nats_per_code * positions + math.log2(num_classes)) / math.log(2)


# 8.5 next_code

next_ = Exercise(
    "8.5",
    models.next_code,
    hints=(
        "A temperature below 1 makes the likely codes likelier: it divides the logits, before the softmax.",
        "logits.topk(top_k).values[:, -1:] is each row's threshold: the smallest logit that stays. Put -inf below it.",
        "torch.multinomial samples from rows of probabilities and returns (batch, 1).",
    ),
)


def kept(logits, top_k):
    """The logits, -inf where they are not among the top_k; what ties for the last of these stays."""
    if top_k is None:
        return logits
    return logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)


@next_.check
def _(answer):
    device, n = default_device(), 2500

    def sample(logits, *options):
        result = call(answer, logits.to(device), *options, sampled=True)
        named = "".join(f"{name}{option}" for name, option in zip((" at temperature ", " with top_k = "), options))
        what = f"what it samples{named} for a batch of {len(logits)}"
        require_tensor(result, (len(logits),), what, torch.int64, device)
        return result.cpu(), what

    table = torch.tensor([[2.0, 0.0, 1.0, -1.0, 0.5], [9.7, 10.4, 9.1, 11.8, 8.4], [-10.3, -11.2, -8.6, -9.1, -12.0]])
    far = torch.tensor([[0.0], [1000.0], [-1000.0]])
    tied = torch.tensor([[1.0, 3.0, 1.0, 0.0, 3.0], [2.0, 2.0, -2.0, 1.0, 1.5]])
    for logits, options in (
        (table, ()),
        (table, (0.37,)),
        (table, (1.8, 3)),
        (table, (1.0, 2)),
        (table + far, (1.8,)),
        (table + far, (0.37, 3)),
        (table, (2, 5)),
        (tied, (1.0, 2)),
        (torch.randn(2, 128), (1.8, 20)),
    ):
        codes, what = sample(logits.repeat(n, 1), *options)
        found = (codes.view(n, -1, 1) == torch.arange(logits.shape[1])).float().mean(dim=0)
        observe(found, 0, 0.07)
        temperature, top_k = options + (1.0, None)[len(options) :]
        wanted = (kept(logits, top_k) / temperature).softmax(dim=1)
        off = ((found - wanted).abs() > 0.05) | ((wanted == 0) & (found > 0))  # 0.05: five standard errors
        for row in off.any(dim=1).nonzero()[:1, 0]:
            listed = [", ".join(f"{x:.5g}" for x in values[row, :5].tolist()) for values in (logits, found, wanted)]
            message = "{}: from the logits {}, the codes have the frequencies {}; {} are right."
            require(False, message.format(what, *listed))
    codes, what = sample(torch.tensor([[2.0, 1.0, 1.0, 0.0, -1.0]]).repeat(n, 1), 1.0, 2)
    require(set(codes.tolist()) <= {0, 1, 2}, f"{what}, where codes 1 and 2 tie, holds others than 0, 1 and 2.")
    logits, wanted = torch.randn(7, 3, 128)[:, -1], torch.randperm(128)[:7]
    logits[torch.arange(7), wanted] = 6.0
    for batch, options in ((7, (0.05,)), (7, (1.8, 1)), (1, (0.05,)), (1, (1.0, 1))):
        codes, what = sample(logits[:batch], *options)
        require_same(codes, wanted[:batch], what)
    several = [sample(table.repeat(20, 1))[0] for _ in range(2)]
    require(not torch.equal(*several), "in every call it samples the same codes.")


def sampled_from(logits):
    return torch.multinomial(logits.softmax(dim=-1), 1)[:, 0]


@next_.mistake("it always takes the likeliest code: that is temperature 0. Sample.")
def greedy(logits, temperature=1.0, top_k=None):
    return logits.argmax(dim=-1)


@next_.mistake("every image of the batch gets the same code: one is sampled for all. Each row needs its own.")
def one_for_all(logits, temperature=1.0, top_k=None):
    return sampled_from((kept(logits, top_k) / temperature)[:1]).expand(len(logits))


@next_.mistake("softmax is taken twice: the frequencies are nearly uniform.")
def softmax_twice(logits, temperature=1.0, top_k=None):
    return sampled_from((kept(logits, top_k) / temperature).softmax(dim=-1))


@next_.mistake("the softmax runs over the batch. For each image, the probabilities of its codes should sum to 1.")
def softmax_over_the_batch(logits, temperature=1.0, top_k=None):
    return torch.multinomial((kept(logits, top_k) / temperature).softmax(dim=0), 1)[:, 0]


@next_.mistake("a low temperature works as a high one should, and the other way round.")
def multiplies_by_it(logits, temperature=1.0, top_k=None):
    return sampled_from(kept(logits, top_k) * temperature)


@next_.mistake("the temperature changes nothing. It acts on the logits, before the softmax.")
def no_temperature(logits, temperature=1.0, top_k=None):
    return sampled_from(kept(logits, top_k))


@next_.mistake("the probabilities are divided by the temperature; it is the logits that should be.")
def divides_probabilities(logits, temperature=1.0, top_k=None):
    return sampled_from(kept(logits, top_k).softmax(dim=-1) / temperature if temperature != 1 else kept(logits, top_k))


@next_.mistake("with top_k, codes that are not among the top_k are still sampled: where is it used?")
def no_top_k(logits, temperature=1.0, top_k=None):
    return sampled_from(logits / temperature)


@next_.mistake("with top_k, the temperature is forgotten.")
def top_k_without_temperature(logits, temperature=1.0, top_k=None):
    return sampled_from(logits / temperature if top_k is None else kept(logits, top_k))


@next_.mistake("with top_k, it returns ranks in the order of likelihood, not codes.")
def ranks(logits, temperature=1.0, top_k=None):
    return sampled_from((logits if top_k is None else logits.topk(top_k).values) / temperature)


@next_.mistake("it keeps the least likely codes. By default, topk finds the largest logits.")
def keeps_the_least(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits = logits.masked_fill(logits > logits.topk(top_k, largest=False).values[:, -1:], -torch.inf)
    return sampled_from(logits / temperature)


@next_.mistake("it keeps one code less than top_k: the smallest logit of the top_k has to stay.")
def loses_the_last(logits, temperature=1.0, top_k=None):
    return sampled_from(kept(logits, top_k and max(top_k - 1, 1)) / temperature)


@next_.mistake("logits outside the top_k are set to 0. A logit of 0 still has a probability: e⁰ = 1.")
def zero_instead_of_infinity(logits, temperature=1.0, top_k=None):
    return sampled_from(kept(logits, top_k).masked_fill(kept(logits, top_k).isinf(), 0) / temperature)


@next_.mistake("the threshold of the first image serves for the whole batch; each image has its own top_k.")
def threshold_of_the_first(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits = logits.masked_fill(logits < logits[0].topk(top_k).values[-1], -1e9)
    return sampled_from(logits / temperature)


@next_.mistake("logits[...] = -inf writes into the caller's tensor. masked_fill makes a new one.")
def writes_into_the_logits(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits[logits < logits.topk(top_k).values[:, -1:]] = -torch.inf
    return sampled_from(logits / temperature)


@next_.mistake("the exponential of a large logit overflows or underflows. softmax is stable for logits of any size.")
def exponentials_of_logits(logits, temperature=1.0, top_k=None):
    return torch.multinomial((kept(logits, top_k) / temperature).exp(), 1)[:, 0]


@next_.mistake("squeeze() removes the batch axis, too, when there is one image: name the axis.")
def squeezes_the_batch(logits, temperature=1.0, top_k=None):
    return sampled_from(kept(logits, top_k) / temperature).squeeze()


@next_.mistake("a manual_seed in it sets the random state: every call samples with the same random numbers.")
def seeded(logits, temperature=1.0, top_k=None):
    torch.manual_seed(0)
    return sampled_from(kept(logits, top_k) / temperature)


# 8.6 colder

prediction(
    "8.6",
    answer="farther",
    replies={
        "nearer": "single digits look better, but the distance compares sets: what about their diversity?",
        "alike": "at half the temperature, a code of probability 1/10 is sampled 1/25 as often as one of 1/2.",
    },
    hints=(
        "At a low temperature, mostly likely codes are sampled. Which strokes does that leave out?",
        "The Fréchet distance compares the means and the covariances of two sets, not single images.",
    ),
)
