"""Checks of lesson 8."""

import math

import torch

from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_number, require_tensor
from aecourse.training import default_device


def causal_mask(n):
    """Which place may look at which: row t is true at t and at the places before it.

    Returns (n, n) of booleans; true: may look.
    """
    return torch.ones(n, n, dtype=torch.bool).tril()


@check(
    "8.1",
    causal_mask,
    hints=(
        "Row t, column s: s may be t or less. Compare two torch.arange(n), one of them as a column.",
        "torch.tril keeps a matrix on and below its diagonal.",
    ),
)
def _causal_mask(answer):
    mask = call(answer, 4)
    require_tensor(mask, (4, 4), "the mask of four places")
    values = set(mask.flatten().tolist())
    require(
        not (mask.is_floating_point() and -math.inf in values),
        "it holds 0 and -inf, numbers to be added to the scores; here a mask is true or false.",
    )
    require(
        mask.dtype == torch.bool,
        f"its dtype is {mask.dtype}; booleans are wanted: for numbers, ~ and masked_fill do something else or fail.",
    )
    right = causal_mask(4)
    mistakes = (
        (right.T, "place 0 looks at all the others and the last place at itself alone: rows look, columns are seen."),
        (~right, "true and false are exchanged: true should mean that a place may look."),
        ((~right).T, "a place does not see itself. Place 0 sees nothing, and a softmax over nothing is nan."),
        (torch.ones(4, 4, dtype=torch.bool).tril(1), "each place sees one place ahead: that is the code to predict."),
        (torch.ones(4, 4, dtype=torch.bool), "every place sees everything, the future too."),
        (torch.eye(4, dtype=torch.bool), "every place sees itself alone."),
    )
    for mistake, message in mistakes:
        require(not torch.equal(mask, mistake), message)
    wrong = (mask != right).nonzero().tolist()
    require(
        not wrong,
        f"of four places, it is wrong at {', '.join(f'row {t}, column {s}' for t, s in wrong[:3])}"
        f"{' and more' if len(wrong) > 3 else ''}.",
    )
    for n in (1, 49):
        mask = call(answer, n)
        require_tensor(mask, (n, n), f"the mask of {n} places")
        require(torch.equal(mask, causal_mask(n)), f"it is right for four places and wrong for {n}.")


def attention(q, k, v, mask):
    """Each place takes a weighted mean of the values v at the places that it may look at.

    q: (..., n, d), what each place asks for. k, v: (..., m, d), what each place has to offer, and what it gives.
    mask: (n, m) of booleans, true where a place may look. The weights are the softmax of q·k / √d over the m places.
    Returns (..., n, d). Source: Vaswani et al., "Attention is all you need", 2017.
    """
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@check(
    "8.2",
    attention,
    hints=(
        "The scores are q @ k.transpose(-1, -2), (..., n, m), divided by the square root of d = q.shape[-1].",
        "A place that may not be looked at should get the weight 0, and the others should still add up to 1. Which "
        "score has a weight of exactly 0 after the softmax? masked_fill puts it there.",
        "Rows are places that look: the softmax runs over the columns, dim=-1. The weights @ v are the answer.",
    ),
)
def _attention(answer):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    q, k, v = (2 * draw(3, 2, 5, 4) for _ in range(3))
    mask = causal_mask(5)
    out = call(answer, q, k, v, mask)
    require_tensor(out, (3, 2, 5, 4), "attention for a batch of 3, 2 heads, 5 places and 4 numbers each")
    right = attention(q, k, v, mask)
    scores = q @ k.mT / 2
    weights = scores.softmax(dim=-1)
    hidden = ~mask
    mistakes = (
        (weights @ v, "it does not change when the mask does: every place looks everywhere, the future included."),
        (attention(2 * q, k, v, mask), "the scores are not divided by √d."),
        (attention(q / 2, k, v, mask), "the scores are divided by d, not by its root."),
        (attention(4 * q, k, v, mask), "the scores are multiplied by √d."),
        (attention(q * 2 / 5**0.5, k, v, mask), "the scores are divided by the root of n, not of d."),
        (attention(q, k, v, mask.T), "it looks at the places from its own on, into the future: is the mask turned?"),
        (weights.masked_fill(hidden, 0) @ v, "weights of hidden places are set to 0 after the softmax: the rest of a "
         "row then add up to less than 1, and the hidden scores still count."),
        (scores.masked_fill(hidden, 0).softmax(dim=-1) @ v, "hidden scores are set to 0. A score of 0 still gets a "
         "weight: e⁰ = 1."),
        (scores.masked_fill(hidden, -torch.inf).softmax(dim=-2) @ v, "the softmax runs over the places that look; for "
         "each of them the weights of those it looks at should add up to 1."),
        (attention(k, q, v, mask), "q and k are exchanged: rows of the scores belong to q."),
        (scores.masked_fill(hidden, 0) @ v, "there is no softmax: scores are not yet weights."),
    )  # fmt: skip
    for mistake, message in mistakes:
        require(not close(out, mistake), message)
    others = scores.masked_fill(mask, -torch.inf).softmax(dim=-1) @ v
    require(
        not close(out[:, :, :-1], others[:, :, :-1]),
        "each place looks at what it may not, and the last one at nothing at all: true in the mask means may look.",
    )
    require(
        not out.isnan().any(),
        "it is nan: for a row without any place left, softmax gives nan, or 0 is multiplied by infinity.",
    )
    first = (out[:, :, 0] - v[:, :, 0]).abs().max()
    require(
        first < 1e-4, f"place 0 sees itself alone, so it should get its own value; yours is up to {first:.2g} away."
    )
    off = (out - right).abs().max()
    require(
        close(out, right), f"with four numbers at each of five places it is up to {off:.2g} away from what is right."
    )
    one, seen = draw(1, 2, 1, 4), torch.tensor([[True, False, True, True, False]])
    out = call(answer, one, k[:1], v[:1], seen)
    require_tensor(out, (1, 2, 1, 4), "attention for one place that looks at five")
    require(
        close(out, attention(one, k[:1], v[:1], seen)),
        "it is right for five places that look at five, wrong for one that looks at five through its own mask.",
    )
    q, k, v = (draw(2, 3, 6) for _ in range(3))
    out = call(answer, q, k, v, causal_mask(3))
    require_tensor(out, (2, 3, 6), "attention without heads, a batch of 2, 3 places and 6 numbers each")
    require(
        close(out, attention(q, k, v, causal_mask(3))), "with six numbers at each place it is wrong: which d is it?"
    )
    large = call(answer, 100 * q, k, v, causal_mask(3))
    require(
        not large.isnan().any() and close(large, attention(100 * q, k, v, causal_mask(3))),
        "with scores of some hundreds it is wrong or nan: e to the power of 300 is too large a number. softmax copes.",
    )
    for tensor in (q, k, v):
        tensor.requires_grad_()
    out = answer(q, k, v, causal_mask(3))
    require(out.requires_grad, "no gradient comes through: is there a detach or a no_grad?")
    wanted = attention(q, k, v, causal_mask(3))
    pairs = zip(*(torch.autograd.grad(y.square().sum(), (q, k, v), allow_unused=True) for y in (out, wanted)))
    for name, (yours, right) in zip("qkv", pairs):
        require(yours is not None and not yours.isnan().any(), f"the gradient does not reach {name}, or is nan.")
        require(
            torch.allclose(yours, right, rtol=1e-3, atol=1e-4), f"the values are right, the gradient of {name} not."
        )
    inputs = [tensor.detach().to(default_device()) for tensor in (q, k, v, causal_mask(3))]
    require(
        call(answer, *inputs).device == inputs[0].device, "the result is on another device than what it is made of."
    )


def shift(codes, start):
    """What the prior sees when it has to tell each code: the start token, then all codes but the last.

    codes: (batch, n) int64. start: (batch,) int64, one token for each image. Returns (batch, n).
    """
    return torch.cat([start[:, None], codes[:, :-1]], dim=1)


@check(
    "8.3",
    shift,
    hints=(
        "Write down three codes a b c and what may be known when each is to be told. For the first: only the start.",
        "The second: the start and a. So which code never goes in?",
        "start[:, None] is a column; torch.cat puts it before a part of the codes.",
    ),
)
def _shift(answer):
    codes, start = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), torch.tensor([90, 91])
    out = call(answer, codes, start)
    column = start[:, None]
    require(
        not (torch.is_tensor(out) and out.shape == (2, 5)),
        "it is one longer than the codes: there would be an answer more than there are questions.",
    )
    require(
        not (torch.is_tensor(out) and out.shape == (2, 3)),
        "it is one shorter than the codes: which token is known when the first code has to be told?",
    )
    require_tensor(out, (2, 4), "what goes in for two images of four codes")
    require(
        not torch.equal(out, torch.cat([column, codes[:, 1:]], dim=1)),
        "for the codes 5 6 7 8 and the start 90 it gives 90 6 7 8. Where the model has to tell 6 it is shown 6.",
        Bug,
    )
    mistakes = (
        (codes, "it gives the codes themselves: each is shown where it has to be told."),
        (
            torch.cat([codes[:, 1:], column], dim=1),
            "it moves the codes the other way: the model would see the next one.",
        ),
        (
            codes.roll(1, dims=1),
            "the last code has come round to the front: the first place would know how it all ends.",
        ),
        (codes.roll(-1, dims=1), "it moves the codes the other way round: the model would see the next one."),
        (torch.cat([codes[:, :-1], column], dim=1), "the start token stands at the end."),
        (torch.cat([column, column, codes[:, :-2]], dim=1), "it is moved by two places."),
        (torch.cat([column[:1].repeat(2, 1), codes[:, :-1]], dim=1), "both images have the start token of the first."),
        (torch.cat([0 * column, codes[:, :-1]], dim=1), "it starts with 0, which is a code, not with the start token."),
    )
    for mistake, message in mistakes:
        require(not torch.equal(out, mistake), message)
    right = shift(codes, start)
    require(
        torch.equal(out, right),
        f"for the codes 5 6 7 8 and the start 90 it gives {' '.join(map(str, out[0].tolist()))}.",
    )
    require(out.dtype == torch.int64, f"its dtype is {out.dtype}; tokens are int64, or no embedding finds them.")
    for batch, n in ((1, 49), (3, 1)):
        codes, start = torch.randint(9, (batch, n)), torch.randint(90, 99, (batch,))
        out = call(answer, codes, start)
        require_tensor(out, (batch, n), f"what goes in for a batch of {batch} with {n} codes")
        require(torch.equal(out, shift(codes, start)), f"it is wrong for a batch of {batch} with {n} codes.")
    inputs = codes.to(default_device()), start.to(default_device())
    require(call(answer, *inputs).device == inputs[0].device, "the result is on another device than the codes.")


def bits_per_image(nats_per_code, places=49, classes=1):
    """How many bits an image takes: those of its codes, and those of its class, if that has to be told as well.

    nats_per_code: the mean of -log p over the codes. places: codes per image. classes: how many there are, all
    equally frequent; 1 if there is none to tell. Returns a number.
    """
    return nats_per_code * places / math.log(2) + math.log2(classes)


@check(
    "8.4",
    bits_per_image,
    hints=(
        "A code that is one of two equally likely ones costs log 2 = 0.693 nats, and one bit.",
        "An image has `places` codes. Its class is told once, not with every code.",
        "To tell one of `classes` equally frequent classes takes log2(classes) bits: 0 for one class, 1 for two.",
    ),
)
def _bits_per_image(answer):
    def bits(*given):
        what = f"bits_per_image({', '.join(f'{value:g}' for value in given)})"
        return require_number(call(answer, *given), what)

    two = math.log(2)
    out = bits(two, 10, 1)
    mistakes = (
        (10 * two, "10 codes of log 2 nats each come out as 6.93: those are nats."),
        (10 * two * two, "nats are multiplied by log 2. A bit is less than a nat, so there should be more bits."),
        (1.0, "that is one code; an image has `places` of them."),
        (0.1, "the nats of a code are divided by the number of codes."),
        (10 * math.log2(math.e) ** 2 * two, "it is turned into bits twice."),
    )
    for mistake, message in mistakes:
        require(not math.isclose(out, mistake, rel_tol=1e-4), message)
    require(
        math.isclose(out, 10, rel_tol=1e-4),
        f"10 codes of log 2 nats each, and no class, are 10 bits; yours are {out:.4g}.",
    )
    out = bits(two, 10, 8)
    mistakes = (
        (10.0, "with one of 8 classes to be told it still is 10 bits: the class is forgotten."),
        (10 + math.log(8), "the class is counted in nats, the codes in bits."),
        (18.0, "8 is added for 8 classes; how many yes-or-no questions find one of 8?"),
        (40.0, "the class is told with each code; once is enough."),
        (7.0, "the class's bits are taken off; who decodes has to be told them."),
        (30.0, "the class's bits multiply those of the codes."),
        (80.0, "the number of classes multiplies the bits of the codes."),
        (13 / two, "the class's bits, too, are divided by log 2: log2 gives bits already."),
        (10 + 3 / two, "the class's bits, too, are divided by log 2: log2 gives bits already."),
        (11.0, "a class of 8 costs one bit in yours; one bit tells one of two."),
    )
    for mistake, message in mistakes:
        require(not math.isclose(out, mistake, rel_tol=1e-4), message)
    require(
        math.isclose(out, 13, rel_tol=1e-4),
        f"10 codes of log 2 nats each and one of 8 classes are 13 bits; yours are {out:.4g}.",
    )
    for given in ((1.0,), (0.5, 49, 10), (2.0, 16, 3)):
        out, wanted = bits(*given), bits_per_image(*given)
        arguments = ", ".join(f"{value:g}" for value in given)
        require(
            math.isclose(out, wanted, rel_tol=1e-4),
            f"bits_per_image({arguments}) should be {wanted:.2f}; yours is {out:.2f}.",
        )


def next_code(logits, temperature=1.0, top_k=None):
    """Draw the next code of each image from softmax(logits / temperature), if asked from the top_k likeliest alone.

    logits: (batch, codes). temperature: above 0. Returns (batch,) int64.
    """
    if top_k is not None:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return torch.multinomial((logits / temperature).softmax(dim=-1), num_samples=1).squeeze(dim=-1)


@check(
    "8.5",
    next_code,
    hints=(
        "A temperature below 1 makes the likely codes likelier: it divides the logits, before the softmax.",
        "logits.topk(top_k).values[:, -1:] is the least logit of each row that stays. Put -inf where it is less.",
        "torch.multinomial draws from rows of probabilities and returns (batch, 1).",
    ),
)
def _next_code(answer):
    n = 20_000

    def draw(logits, *options):
        copy = logits.clone()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            out = answer(logits, *options)
        require(torch.equal(logits, copy), "it changes the logits in place; whoever called it still needs them.")
        require_tensor(out, logits.shape[:1], f"what is drawn for a batch of {len(logits)}")
        require(out.dtype == torch.int64, f"its dtype is {out.dtype}; codes are int64.")
        return out

    def shares(row, *options):
        codes = draw(row.expand(n, -1).clone(), *options)
        require(
            0 <= codes.min() and codes.max() < len(row),
            f"it draws code {int(codes.max())}; the last one is {len(row) - 1}.",
        )
        return torch.bincount(codes, minlength=len(row)) / n

    row = torch.tensor([2.0, 0.0, 1.0, -1.0, 0.5])
    best = torch.eye(5)[0]

    def near(a, b):
        return (a - b).abs().max() < 0.025  # five standard errors of a share are below 0.018

    def listed(values):
        return ", ".join(f"{value:.2f}" for value in values.tolist())

    state = torch.get_rng_state()
    torch.default_generator.manual_seed(1)
    repeats = [answer(row.expand(50, -1).clone()) for _ in range(4)]
    torch.set_rng_state(state)
    found = shares(row)
    require(not near(found, best), "it always takes the likeliest code: that is temperature 0. Draw.")
    require(
        found.max() < 1,
        "every image of the batch gets the same code: one is drawn for all. Each row needs its own draw.",
    )
    require(
        any(not torch.equal(repeats[0], other) for other in repeats[1:]),
        "it draws the same every time: is there a manual_seed in it?",
    )
    plain = row.softmax(dim=0)
    if near(found, torch.full((5,), 0.2)):
        several = 20 * torch.eye(5).repeat(100, 1)  # each row has a code that it all but has to get
        used = (draw(several).view(100, 5) == torch.arange(5)).float().mean() > 0.5
        require(not used, "in a batch of equal rows all codes are drawn alike: along which axis does the softmax run?")
        require(used, "all codes are drawn alike: the logits are not used.")
    require(not near(found, plain.softmax(dim=0)), "softmax is taken twice: the shares come out nearly alike.")
    require(not near(found, (-row).softmax(dim=0)), "the less likely a code, the more often it is drawn.")
    require(
        near(found, plain), f"at temperature 1 the codes' shares should be {listed(plain)}; yours are {listed(found)}."
    )
    for temperature in (0.5, 2.0):
        found, wanted = shares(row, temperature), (row / temperature).softmax(dim=0)
        at = f"at temperature {temperature:g}"
        mistakes = (
            (
                (row * temperature).softmax(dim=0),
                f"{at} it draws as it should at {1 / temperature:g}: the wrong way round.",
            ),
            (plain, f"{at} it draws as at 1: where does the temperature come in?"),
            (
                (plain / temperature).softmax(dim=0),
                f"{at} the probabilities are divided; it is the logits that should be.",
            ),
            (
                (row / temperature**2).softmax(dim=0),
                f"{at} it draws as it should at {temperature**2:g}: is it in twice?",
            ),
            (
                (row / temperature**0.5).softmax(dim=0),
                f"{at} it draws as it should at its root, {temperature**0.5:.2f}.",
            ),
        )
        for mistake, message in mistakes:
            require(not near(found, mistake) or near(found, wanted), message)
        require(near(found, wanted), f"{at} the codes' shares should be {listed(wanted)}; yours are {listed(found)}.")
    _require_top_k(shares, row, near, listed)
    heights = torch.tensor([0.0, 10.0, -10.0]).repeat(200)
    out = draw(row + heights[:, None], 1.0, 2).view(200, 3)
    seen = [set(column.tolist()) for column in out.T]
    require(
        seen == [{0, 2}] * 3,
        "with top_k = 2 it is right where all rows are alike, wrong where they differ: each row has its own top 2.",
    )
    rows = torch.full((6, 7), -1.0)
    wanted = torch.tensor([3, 0, 6, 2, 2, 5])
    rows[torch.arange(6), wanted] = 1.0
    for options, what in (((0.01,), "at temperature 0.01"), ((1.0, 1), "with top_k = 1")):
        out = draw(rows, *options)
        require(
            torch.equal(out, wanted),
            f"{what} each image should get its likeliest code, {wanted.tolist()}; yours get {out.tolist()}.",
        )
    out = draw(1000 + 20 * rows, 0.5)
    require(torch.equal(out, wanted), "with logits near 1000 it draws the wrong codes: do its exponentials overflow?")
    require(
        torch.equal(draw(rows[:1] * 100), wanted[:1]), "it is right for a batch of six and wrong for a batch of one."
    )
    device = default_device()
    require(answer(rows.to(device)).device.type == device.type, "the codes are on another device than the logits.")


def _require_top_k(shares, row, near, listed):
    """row has its logits in the order 0, 2, 4, 1, 3."""
    plain = row.softmax(dim=0)
    for temperature, top_k in ((1.0, 2), (2.0, 3)):
        found = shares(row, temperature, top_k)
        scaled = (row / temperature).softmax(dim=0)
        kept = row >= row.topk(top_k).values[-1]
        wanted = scaled * kept / scaled[kept].sum()
        at = f"at temperature {temperature:g} with top_k = {top_k}"
        places = torch.cat([scaled.sort(descending=True).values[:top_k], torch.zeros(5 - top_k)])
        least = row <= row.topk(top_k, largest=False).values[-1]
        fewer = row >= row.topk(top_k - 1).values[-1]
        mistakes = (
            (scaled, f"{at} every code is still drawn: where does top_k come in?"),
            (scaled * fewer / scaled[fewer].sum(), f"{at} it keeps one code less: is the last of the top_k "
             "lost, or does the whole batch have one threshold?"),
            (places / places.sum(), f"{at} it draws 0 to {top_k - 1}: places in the order of likelihood, not codes."),
            (scaled * least / scaled[least].sum(), f"{at} it keeps the {top_k} least likely codes."),
            (kept / top_k, f"{at} it draws all that is kept alike."),
            (plain * kept / plain[kept].sum(), f"{at} it forgets the temperature."),
            (torch.arange(5) < top_k) * scaled / scaled[:top_k].sum(),
        )  # fmt: skip
        for mistake in mistakes[:-1]:
            require(not near(found, mistake[0]) or near(found, wanted), mistake[1])
        require(
            not near(found, mistakes[-1]) or near(found, wanted),
            f"{at} it keeps codes 0 to {top_k - 1}, likely or not.",
        )
        extra = found[~kept].sum()
        require(extra == 0, f"{at} {extra:.0%} of what is drawn is none of the {top_k} likeliest codes.")
        require(near(found, wanted), f"{at} the codes' shares should be {listed(wanted)}; yours are {listed(found)}.")
    found = shares(row, 1.0, 5)
    require(near(found, plain), f"with top_k = 5 of 5 codes nothing should change; yours are {listed(found)}.")
    tied = torch.tensor([1.0, 3.0, 1.0, 0.0, 3.0])
    found = shares(tied, 1.0, 2)
    require(
        near(found, torch.tensor([0.0, 0.5, 0.0, 0.0, 0.5])),
        f"two codes tie for the first place; with top_k = 2 each gets one half. Yours: {listed(found)}.",
    )


def colder():
    """MNIST digits drawn at temperature 0.5 instead of 1: is the set of them nearer to the test digits?

    "nearer": the Fréchet distance is less than half of that at temperature 1.
    "farther": it is more than twice that at temperature 1.
    "alike": neither.
    """
    return "farther"


@check(
    "8.6",
    colder,
    hints=(
        "A cold draw takes likely codes only. Which strokes does that leave out?",
        "The Fréchet distance compares the means and the spread of two sets, not single pictures.",
    ),
    prediction=True,
)
def _colder(answer):
    choice = require_choice(answer, "nearer", "farther", "alike")
    require(choice != "nearer", "single digits get neater, but the distance is one between sets: what of their spread?")
    require(
        choice != "alike",
        "at half the temperature a code of probability 1/10 against one of 1/2 has 1/25 as many draws.",
    )
