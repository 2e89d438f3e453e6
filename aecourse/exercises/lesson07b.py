"""Checks of lesson 7, part 2."""

import math

import torch

from aecourse.exercises.checks import Bug, call, check, close, require, require_choice, require_number, require_tensor
from aecourse.losses import quantization_losses
from aecourse.metrics import perplexity
from aecourse.models import VectorQuantizer, nearest_code, straight_through
from aecourse.training import default_device


@check(
    "7b.1",
    perplexity,
    hints=(
        "torch.bincount counts how often each code occurs. It takes one row of numbers: flatten first.",
        "Divided by how many there are, the counts are shares p. The entropy is -Σ p log p, in nats.",
        "The perplexity is e to the entropy. A code that never occurs has p = 0 and adds nothing: torch.special.entr.",
    ),
)
def _perplexity(answer):
    def number(codes, size, what):
        result = call(answer, codes, size)
        return require_number(result, f"the perplexity of {what}", "what is 0 · log 0 of a code never used?")

    codes = torch.tensor([[[0, 0], [0, 3]], [[5, 5], [0, 3]]])  # 4 zeros, 2 threes, 2 fives: entropy 1.5 bits
    out = number(codes, 10, "4 zeros, 2 threes and 2 fives")
    shares = torch.tensor([0.5, 0.25, 0.25])
    nats = 1.5 * math.log(2)
    each = sum(perplexity(image, 10) for image in codes) / 2
    off = f"4 zeros, 2 threes and 2 fives have a perplexity of {math.exp(nats):.3f}; yours is {out:.3f}"
    mistakes = {
        "That is the entropy in nats, not yet e to it.": nats,
        "That is the entropy in bits.": 1.5,
        "That is e to the entropy in bits: base and logarithm do not belong together.": math.exp(1.5),
        "That is 2 to the entropy in nats: base and logarithm do not belong together.": 2**nats,
        "That is 1 over it: which sign has an entropy?": math.exp(-nats),
        "That is how many codes occur; a code that occurs often counts no more than a rare one.": 3.0,
        "That is the size of the codebook.": 10.0,
        "That is the size of the codebook over the perplexity.": 10 / math.exp(nats),
        "That is 1 over the sum of squared shares, another measure; the perplexity is of the entropy.": (
            1 / shares.square().sum().item()
        ),
        "That is a share of the codebook.": math.exp(nats) / 10,
        "That is the mean of the images' own perplexities; count all codes together.": each,
        "That is of shares by softmax; counts become shares by division.": (
            torch.special.entr(torch.bincount(codes.flatten(), minlength=10).float().softmax(0)).sum().exp().item()
        ),
    }
    for message, wrong in mistakes.items():
        require(abs(out - wrong) > 1e-3, f"{off}. {message}")
    require(abs(out - math.exp(nats)) < 1e-3, f"{off}.")
    for what, codes, size in (
        ("each of 5 codes once", torch.arange(5), 5),
        ("one code alone", torch.zeros(3, 7, 7, dtype=torch.int64), 128),
        ("a single code of number 7", torch.tensor([[[7]]]), 8),
        ("each of 128 codes 49 times", torch.arange(128).repeat(49).view(-1, 7, 7), 128),
        ("2,000 codes of 512", torch.randint(512, (2000,)).sort().values // 3, 512),
    ):
        out, wanted = number(codes, size, what), perplexity(codes, size)
        require(abs(out - wanted) < 1e-3 * wanted, f"the perplexity of {what} is {wanted:.3f}; yours is {out:.3f}.")
    rare = torch.zeros(200_000, dtype=torch.int64)
    rare[:127] = torch.arange(1, 128)
    out, wanted = number(rare, 128, "127 codes that occur once in 200,000"), perplexity(rare, 128)
    require(
        abs(out - wanted) < 1e-3,
        f"127 codes that occur once in 200,000 give {out:.4f} instead of {wanted:.4f}: are rare codes lost?",
    )


def quantize(quantizer, z):
    """Replace each of the encoder's vectors by the nearest of the codebook.

    quantizer: has a codebook, (codes, dim), and lookup. z: (batch, dim, height, width).
    Returns the quantised vectors, like z, with gradients passed straight through; their codes,
    (batch, height, width) int64; codebook and commitment loss, each (batch,).
    """
    vectors = z.movedim(1, -1).flatten(end_dim=-2)
    codes = nearest_code(vectors, quantizer.codebook).view(len(z), *z.shape[2:])
    nearest = quantizer.lookup(codes)
    return straight_through(z, nearest), codes, *quantization_losses(z, nearest)


@check(
    "7b.2",
    quantize,
    hints=(
        "Which of the two losses should move the codebook? Follow its gradient back, line by line.",
        "What straight_through returns has the value of the nearest vectors. Whose gradient does it have?",
        "Keep two tensors: the nearest vectors themselves, and what goes on to the decoder.",
    ),
)
def _quantize(answer):
    device = default_device()
    quantizer = VectorQuantizer(codes=6, dim=3).to(device)
    with torch.no_grad():
        quantizer.codebook.copy_(2 * torch.randn(6, 3))
    codebook = quantizer.codebook
    before = codebook.detach().clone()
    for batch in (3, 1):
        z = torch.randn(batch, 3, 4, 5).mul(2).to(device).requires_grad_()
        out = call(answer, quantizer, z)
        require(torch.equal(codebook, before), "it changes the codebook in place; that is the optimiser's work.")
        require(out is not None, "it returns None. Is there a return?")
        require(
            isinstance(out, (tuple, list)) and len(out) == 4,
            "it should return four things: the quantised vectors, the codes, the codebook and the commitment loss; "
            f"yours is a {type(out).__name__}{f' of {len(out)}' if isinstance(out, (tuple, list)) else ''}.",
        )
        quantized, codes, *losses = out
        right = quantize(quantizer, z)
        _require_quantized(quantized, codes, right, z, codebook)
        _require_losses(losses, right, z, codebook)


def _gradient(value, of):
    """The gradient of a sum, zeros where there is none."""
    if not value.requires_grad:
        return torch.zeros_like(of)
    (gradient,) = torch.autograd.grad(value.sum(), of, retain_graph=True, allow_unused=True)
    return torch.zeros_like(of) if gradient is None else gradient


def _require_quantized(quantized, codes, right, z, codebook):
    require_tensor(codes, right[1].shape, f"the codes of {len(z)} images of 4×5 places")
    require(codes.dtype == torch.int64, f"the codes are {codes.dtype}; int64 is wanted.")
    share = (codes != right[1]).float().mean().item()
    require(share == 0, f"{share:.0%} of the codes are not those of the nearest vectors. Is dim the last axis?")
    require_tensor(quantized, z.shape, "what goes on to the decoder")
    require(
        not close(quantized.detach(), z.detach()), "the decoder gets the encoder's own vectors; nothing is quantised."
    )
    off = (quantized - right[0]).abs().max().item()
    require(off < 1e-4, f"the decoder does not get the vectors of the codes: it is off by up to {off:.2f}.")
    through = _gradient(quantized, z)
    require(through.any(), "no gradient of the reconstruction reaches the encoder: is anything straight through?")
    require(
        close(through, torch.ones_like(z)),
        f"the gradient of what goes on to the decoder should reach z unchanged; yours is {through.mean():.3g} of it.",
    )
    require(
        not _gradient(quantized, codebook).any(),
        "the reconstruction moves the codebook: what goes on to the decoder has the gradient of z alone.",
    )


def _require_losses(losses, right, z, codebook):
    names = ("codebook", "commitment")
    for name, loss, wanted in zip(names, losses, right[2:]):
        require(
            not (torch.is_tensor(loss) and loss.ndim == 0 and len(z) > 1),
            f"the {name} loss is one number; one for each image is wanted.",
        )
        require_tensor(loss, (len(z),), f"the {name} loss of a batch of {len(z)}")
        require(
            not close(loss.detach(), 0),
            f"the {name} loss is 0, though the vectors differ: of which two tensors is it?",
        )
        require(
            close(loss.detach(), wanted.detach()),
            f"the {name} loss is {(loss / wanted).mean():.3g} times what it should be: a sum over dim and all places.",
        )
    to_codebook, to_encoder = (_gradient(losses[0], of) for of in (codebook, z))
    wanted = _gradient(right[2], codebook)
    commitment_to_codebook = _gradient(losses[1], codebook)
    require(
        not (close(to_encoder, _gradient(right[3], z)) and close(commitment_to_codebook, wanted)),
        "the two losses have changed places: the third thing it returns moves the encoder, the fourth the codebook.",
    )
    require(
        to_codebook.any() or not to_encoder.any(),
        "no gradient of the codebook loss reaches the codebook, which never moves; it goes to the encoder, and "
        f"there {'pushes z away from its code' if close(to_encoder, -_gradient(right[3], z)) else 'moves z'}.",
        Bug,
    )
    require(to_codebook.any(), "no gradient of the codebook loss reaches the codebook: is there a detach too many?")
    require(
        close(to_codebook, wanted),
        "the gradient of the codebook loss moves the codebook, but not towards the vectors it stands for.",
    )
    require(not to_encoder.any(), "the codebook loss moves the encoder as well: that is what the commitment is for.")
    require(_gradient(losses[1], z).any(), "no gradient of the commitment reaches the encoder: which side is detached?")
    require(
        close(_gradient(losses[1], z), _gradient(right[3], z)),
        "the gradient of the commitment should pull z towards its code; yours does something else.",
    )
    require(not commitment_to_codebook.any(), "the commitment moves the codebook as well: hold its vectors fixed.")


def first_statistics(codebook):
    """Counts and sums of a moving average, as if each code had stood for one vector equal to its own.

    codebook: (codes, dim). Returns counts, (codes,), and sums, (codes, dim), tensors of their own.
    """
    return torch.ones_like(codebook[:, 0]), codebook.detach().clone()


@check(
    "7b.3",
    first_statistics,
    hints=(
        "The codebook is sums / counts. What do the first counts and sums give, before any batch?",
        "A code that stands for nothing keeps .99 of its sum and of its count. With which first counts does it stay?",
        "If every code had stood for one vector, its own: how many is that, and what is their sum?",
    ),
)
def _first_statistics(answer):
    codebook = torch.randn(6, 3).mul(2).to(default_device()).requires_grad_()
    out = call(answer, codebook)
    require(out is not None, "it returns None. Is there a return?")
    require(
        isinstance(out, (tuple, list)) and len(out) == 2,
        f"it should return two things, counts and sums; yours is a {type(out).__name__}.",
    )
    counts, sums = out
    swapped = torch.is_tensor(counts) and torch.is_tensor(sums) and (counts.ndim, sums.ndim) == (2, 1)
    require(not swapped, "counts and sums have changed places: counts come first.")
    require_tensor(counts, (6,), "the first counts of 6 codes")
    require_tensor(sums, (6, 3), "the first sums of 6 codes of 3 numbers")
    for name, tensor in (("counts", counts), ("sums", sums)):
        require(tensor.is_floating_point(), f"the {name} are {tensor.dtype}: a moving average needs floats.")
        require(
            tensor.dtype == codebook.dtype,
            f"the {name} are {tensor.dtype}, the codebook is {codebook.dtype}: they are to be averaged together.",
        )
        require(not tensor.requires_grad, f"the {name} carry gradients of the codebook: detach them.")
        require(tensor.device == codebook.device, f"the {name} are on another device than the codebook.")
    require(not (counts < 0).any(), "a count cannot be negative.")
    unused = counts < 0.01
    bug = "{} and one that stands for a few vectors is thrown far out, too: its count starts near 0, its sum does not."
    where = "before any batch a code that stands for nothing lies at sum / count"
    if unused.any() and sums.any() and not close(sums, counts[:, None] * codebook.detach()):
        by = f"= {1 / counts.max():.0f} times its place," if counts.max() > 0 else "= e / 0, out of reach,"
        raise Bug(bug.format(f"{where} {by}"))
    require(
        sums.any() or not unused.any(),
        f"with counts and sums of 0, {where} = 0 / 0: nobody knows where.",
    )
    off = (sums / counts[:, None] - codebook).norm(dim=1) / codebook.norm(dim=1)
    origin = "All codes start at the origin. " if not sums.any() else ""
    factor = (sums / counts[:, None] / codebook).detach()
    if not origin and factor.std() < 1e-4 and off.max() > 1e-4:
        origin = f"Every code starts at {factor.mean():.3g} times its place. "
    require(
        off.max() < 1e-4,
        f"{origin}Before any batch sums / counts should be the codebook; it is off by up to {off.max():.0%} of a "
        "vector's length.",
    )
    require(
        counts.min() > 0.99,
        f"sums / counts is the codebook, as it should be, but a count starts at {counts.min():.2g}: below 1, where "
        "a code counts as dead.",
    )
    require(
        counts.max() < 10,
        f"sums / counts is the codebook, as it should be, but with a count of {counts.max():.3g} a code that stands "
        "for one vector a batch hardly moves.",
    )
    before = codebook.detach().clone()
    sums.mul_(0.99)
    require(
        torch.equal(codebook, before), "the sums are the codebook's own memory: when they change, the codebook does."
    )
    counts[0] = 7
    require(counts[1] != 7, "all counts are one number in memory: when one changes, all do.")
    one = call(answer, codebook[:1])
    require_tensor(one[0], (1,), "the first counts of a single code")
    require_tensor(one[1], (1, 3), "the first sums of a single code")


def most_codes_used():
    """A codebook moved by gradients, 128 codes. With vectors of how many numbers are most codes used?

    "4", "16" or "64".
    """
    return "4"


@check(
    "7b.4",
    most_codes_used,
    hints=(
        "A code is used if it is the nearest to some vector. Where are nearest neighbours spread more evenly?",
        "With four numbers, how far can a code be from all vectors? And with sixty-four?",
    ),
    prediction=True,
)
def _most_codes_used(answer):
    choice = require_choice(answer, "4", "16", "64")
    require(
        choice != "64",
        "in 64 dimensions a code has more ways to be far from everything. More room is not more use.",
    )
    require(choice != "16", "16 is what we have used so far. Is it the best of the three at this, or in the middle?")


def finite_scalar(z, levels):
    """Round each number of a vector to one of a few levels, with gradients passed straight through.

    z: (batch, dim, height, width). levels: (dim,) int64, 2 or more: how many levels number j has. With L of
    them, sigmoid(z) · (L - 1) is rounded to a digit from 0 to L - 1.
    Returns the levels as values, 2 · digit / (L - 1) - 1 in [-1, 1], like z; and the codes,
    (batch, height, width) int64: the digits as one number, the first digit counting least.
    Source: Mentzer et al., "Finite scalar quantization: VQ-VAE made simple", 2023, with a simpler squashing.
    """
    top = (levels - 1).view(-1, 1, 1)
    scaled = top * z.sigmoid()
    digits = scaled.detach().round().long()
    places = (levels.cumprod(0) // levels).view(-1, 1, 1)  # 1, L0, L0 · L1, …
    return 2 * straight_through(scaled, digits) / top - 1, (places * digits).sum(dim=1)


@check(
    "7b.5",
    finite_scalar,
    hints=(
        "levels.view(-1, 1, 1) stands beside z: one number of levels for each of dim. sigmoid, times L - 1, round.",
        "straight_through(scaled, digits) has the value of the digits and the gradient of scaled. Then to [-1, 1].",
        "With levels 8, 4, 4 the code is d0 + 8 · d1 + 8 · 4 · d2. levels.cumprod(0) // levels is 1, 8, 32.",
    ),
)
def _finite_scalar(answer):
    device = default_device()
    for levels, batch in (((8, 4, 4), 3), ((5, 5, 5), 1), ((3, 2), 3), ((7,), 2)):
        sizes = torch.tensor(levels).to(device)
        z = (3 * torch.randn(batch, len(levels), 7, 5)).to(device).requires_grad_()
        out = call(answer, z, sizes)
        require(out is not None, "it returns None. Is there a return?")
        require(
            isinstance(out, (tuple, list)) and len(out) == 2,
            f"it should return two things, values and codes; yours is a {type(out).__name__}.",
        )
        _require_values(out[0], z, sizes)
        _require_digits(out[1], z, sizes)


def _require_values(values, z, levels):
    right = finite_scalar(z, levels)[0]
    listed = ", ".join(str(level) for level in levels.tolist())
    require_tensor(values, z.shape, f"the values for levels {listed}")
    require(values.is_floating_point(), f"the values are {values.dtype}; floats in [-1, 1] are wanted.")
    top = (levels - 1).view(-1, 1, 1)
    scaled = (top * z.sigmoid()).detach()
    digits = scaled.round()
    tanh = 2 * (top * (z.tanh() + 1) / 2).round() / top - 1
    mistakes = {
        "They are not rounded.": 2 * scaled / top - 1,
        f"They are the digits, 0 to {int(top.max())}; the decoder gets them scaled to [-1, 1].": digits,
        "They run from 0 to 1 instead of -1 to 1.": digits / top,
        "They are rounded down: values near the next level get the one below.": 2 * scaled.floor() / top - 1,
        "They are scaled with L, which is one more than the largest digit.": 2 * digits / (top + 1) - 1,
        "There is one level too many: L levels are the digits 0 to L - 1.": (
            2 * ((top + 1) * z.sigmoid()).round() / (top + 1) - 1
        ),
        "They are squashed by tanh: twice as steep as the sigmoid.": tanh,
        "Is z rounded without being squashed first?": z.round().clamp(-1, 1),
    }
    for message, wrong in mistakes.items():
        require(not close(values.detach(), wrong.detach()), f"for levels {listed} the values are off. {message}")
    off = (values - right).abs().max().item()
    require(off < 1e-4, f"for levels {listed} the values are off by up to {off:.2f}; they lie in [-1, 1].")
    gradient, wanted = _gradient(values, z), _gradient(right, z)
    require(gradient.any(), "no gradient reaches z: rounding has none. Is anything straight through?")
    mistakes = {
        "It is that of the identity, as if z had never been squashed.": torch.ones_like(z),
        "Is it the digits' gradient, before they are scaled to [-1, 1]?": wanted * top / 2,
    }
    for message, wrong in mistakes.items():
        require(not close(gradient, wrong), f"the values are right, but not their gradient. {message}")
    require(
        close(gradient, wanted),
        "the values are right, but not their gradient, which should be that of 2 · sigmoid(z) - 1.",
    )


def _require_digits(codes, z, levels):
    right = finite_scalar(z, levels)[1]
    listed = ", ".join(str(level) for level in levels.tolist())
    require_tensor(codes, right.shape, f"the codes for levels {listed}")
    require(codes.dtype == torch.int64, f"the codes are {codes.dtype}; int64 is wanted.")
    size = math.prod(levels.tolist())
    digits = (((levels - 1).view(-1, 1, 1)) * z.sigmoid()).detach().round().long()
    backwards = levels.flip(0).cumprod(0).flip(0) // levels
    mistakes = {
        "It is the sum of the digits: many codes share one number.": digits.sum(dim=1),
        "It is the product of the digits: many codes share one number.": digits.prod(dim=1),
        "The last digit counts least; the first should.": (backwards.view(-1, 1, 1) * digits).sum(dim=1),
        "The first digit counts L0; it should count 1.": (levels.cumprod(0).view(-1, 1, 1) * digits).sum(dim=1),
        "Each digit counts its own number of levels.": (levels.view(-1, 1, 1) * digits).sum(dim=1),
        "It starts from 1; codes start from 0.": right + 1,
    }
    if len(levels) > 1:
        for message, wrong in mistakes.items():
            require(not torch.equal(codes, wrong), f"for levels {listed} the codes are off. {message}")
    require(
        codes.min() >= 0 and codes.max() < size,
        f"levels {listed} make {size} codes, 0 to {size - 1}; yours run from {codes.min()} to {codes.max()}.",
    )
    share = (codes != right).float().mean().item()
    require(share == 0, f"for levels {listed} {share:.0%} of the codes are not those of the digits.")
