"""Exercises of lesson 7, part 2."""

import math

import torch

from aecourse import losses, metrics, models
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
    require_several,
    require_tensor,
)
from aecourse.losses import quantization_losses
from aecourse.models import nearest_code, straight_through
from aecourse.training import default_device

# 7b.1 perplexity

perplexity = Exercise(
    "7b.1",
    metrics.perplexity,
    hints=(
        "torch.bincount counts how often each code occurs. It takes one axis: flatten first.",
        "Divided by how many there are, the counts are fractions p. The entropy is -Σ p log p, in nats.",
        "The perplexity is exp of the entropy. A code that never occurs has p = 0 and adds 0: torch.special.entr.",
    ),
)


@perplexity.check
def _(answer):
    rare = torch.zeros(200_000, dtype=torch.int64)
    rare[:127] = torch.arange(1, 128)
    for what, codes, num_codes in (
        ("4 zeros, 2 threes and 2 fives", torch.tensor([[[0, 0], [0, 3]], [[5, 5], [0, 3]]]), 10),
        ("each of 5 codes once", torch.arange(5), 5),
        ("one code alone", torch.zeros(3, 7, 7, dtype=torch.int64), 128),
        ("a single code, 7", torch.tensor([[[7]]]), 9),
        ("each of 128 codes 49 times", torch.arange(128).repeat(49).view(-1, 7, 7), 128),
        ("each of 512 codes once", torch.arange(512), 512),
        ("2,000 codes of 512", torch.randint(512, (2000,)).sort().values // 3, 512),
        ("127 codes that occur once in 200,000", rare, 128),
    ):
        what = f"the perplexity of {what}"
        result = require_number(call(answer, codes, num_codes), what)
        require_same(float(result), metrics.perplexity(codes, num_codes), what, rtol=2e-5)


def fractions_of(codes, num_codes):
    return torch.bincount(codes.flatten(), minlength=num_codes).double() / codes.numel()


def entropy_of(p):
    return torch.special.entr(p).sum().item()


@perplexity.mistake("that is the entropy in nats, not yet its exponential.")
def entropy_alone(codes, num_codes):
    return entropy_of(fractions_of(codes, num_codes))


@perplexity.mistake("that is the entropy in bits.")
def entropy_in_bits(codes, num_codes):
    return entropy_of(fractions_of(codes, num_codes)) / math.log(2)


@perplexity.mistake("that is 2 to the entropy in nats: base and logarithm do not belong together.")
def nats_with_two(codes, num_codes):
    return 2 ** entropy_of(fractions_of(codes, num_codes))


@perplexity.mistake("that is 1 over the perplexity: which sign does an entropy have?")
def wrong_sign(codes, num_codes):
    return math.exp(-entropy_of(fractions_of(codes, num_codes)))


@perplexity.mistake("that is how many codes occur. A frequent code should have more weight than a rare one.")
def how_many_occur(codes, num_codes):
    return float(len(codes.unique()))


@perplexity.mistake("that is 1 over the sum of squared fractions, another measure; the perplexity is of the entropy.")
def inverse_simpson(codes, num_codes):
    return 1 / fractions_of(codes, num_codes).square().sum().item()


@perplexity.mistake("that is a fraction of the codebook.")
def fraction_of_size(codes, num_codes):
    return metrics.perplexity(codes, num_codes) / num_codes


@perplexity.mistake("that is the mean of the images' own perplexities; count all codes together.")
def image_by_image(codes, num_codes):
    return sum(metrics.perplexity(image, num_codes) for image in codes) / len(codes)


@perplexity.mistake("a code that never occurs makes it nan: 0 · log 0 has to count as 0.")
def zero_log_zero(codes, num_codes):
    p = fractions_of(codes, num_codes)
    return (-(p * p.log()).sum()).exp().item()


@perplexity.mistake("the counts are divided by the number of images. How many codes have been counted?")
def fractions_per_image(codes, num_codes):
    return math.exp(entropy_of(torch.bincount(codes.flatten(), minlength=num_codes) / len(codes)))


@perplexity.mistake("rare codes are left out; there are many of them, and together they count.")
def drops_rare_codes(codes, num_codes):
    p = fractions_of(codes, num_codes)
    p = p[p > 1e-4]
    return math.exp(entropy_of(p / p.sum()))


@perplexity.mistake("torch.bincount takes a tensor with one axis; codes may have any number of axes.")
def forgets_to_flatten(codes, num_codes):
    return math.exp(entropy_of(torch.bincount(codes, minlength=num_codes) / codes.numel()))


# 7b.2 quantize

quantize = Exercise(
    "7b.2",
    models.VectorQuantizer.forward,
    name="quantize",
    hints=(
        "Which of the two losses should move the codebook? Follow its gradient back, line by line.",
        "What straight_through returns has the value of the nearest vectors. Whose gradient does it have?",
        "Keep two tensors: the nearest vectors themselves, and what goes on to the decoder.",
    ),
)


@quantize.check
def _(answer):
    for batch, num_codes, dim in ((3, 6, 2), (1, 7, 5)):
        quantizer = models.VectorQuantizer(num_codes=num_codes, dim=dim).to(default_device())
        quantizer.initialized.fill_(True)
        with torch.no_grad():
            quantizer.codebook.normal_(std=2.0)
        z = computed(torch.randn(batch, dim, 3, 4, device=quantizer.codebook.device).mul(2))
        names = "quantised vectors", "codes", "codebook loss", "commitment loss"
        out = require_several(call(answer, quantizer, z), names)
        right = quantizer(z)
        require_tensor(out[1], (batch, 3, 4), "the codes", torch.int64, z.device)
        require_same(out[1], right[1], "the codes")
        require_tensor(out[0], z.shape, "what goes on to the decoder", device=z.device)
        require_same(out[0], right[0], "what goes on to the decoder")
        for result, wanted, name in zip(out[2:], right[2:], names[2:]):
            require_tensor(result, (batch,), f"the {name}", device=z.device)
            require_same(result, wanted, f"the {name}")
        for i in (0, 2, 3):
            inputs = {"z": z, "the codebook": quantizer.codebook}
            require_same_gradients(out[i], right[i], inputs, ("what goes on to the decoder", "", *names[2:])[i])


def found(quantizer, z):
    vectors = z.movedim(1, -1).flatten(end_dim=-2)
    codes = nearest_code(vectors, quantizer.codebook).view(len(z), *z.shape[2:])
    return codes, quantizer.lookup(codes)


@quantize.given("in training the codebook does not move at all, and z moves farther away from it with every step.")
def the_bug_itself(quantizer, z):
    vectors = z.movedim(1, -1).flatten(end_dim=-2)
    codes = nearest_code(vectors, quantizer.codebook).view(len(z), *z.shape[2:])
    quantized = straight_through(z, quantizer.lookup(codes))
    return quantized, codes, *quantization_losses(z, quantized)


@quantize.mistake("the reconstruction moves the codebook, and the encoder learns nothing from it.")
def no_straight_through(quantizer, z):
    codes, nearest = found(quantizer, z)
    return nearest, codes, *quantization_losses(z, nearest)


@quantize.mistake("in training the codebook does not move at all.")
def codebook_detached(quantizer, z):
    codes, nearest = found(quantizer, z)
    nearest = nearest.detach()
    return straight_through(z, nearest), codes, *quantization_losses(z, nearest)


@quantize.mistake("what should move the codebook moves the encoder, and vice versa.")
def losses_swapped(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook, commitment = quantization_losses(z, nearest)
    return straight_through(z, nearest), codes, commitment, codebook


@quantize.mistake("the codebook loss moves the encoder as well.")
def codebook_loss_moves_both(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook = losses.squared_error(nearest, z)
    return straight_through(z, nearest), codes, codebook, losses.squared_error(z, nearest.detach())


@quantize.mistake("the commitment loss moves the codebook as well.")
def commitment_moves_both(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook = losses.squared_error(nearest, z.detach())
    return straight_through(z, nearest), codes, codebook, losses.squared_error(z, nearest)


@quantize.mistake("nothing moves the encoder towards the codebook: the commitment loss has no gradient.")
def commitment_detached(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook, commitment = quantization_losses(z, nearest)
    return straight_through(z, nearest), codes, codebook, commitment.detach()


@quantize.mistake("the codebook loss is 0, although the vectors are not those of the codebook.")
def loss_of_it_with_itself(quantizer, z):
    codes, nearest = found(quantizer, z)
    quantized = straight_through(z, nearest)
    return quantized, codes, losses.squared_error(quantized, nearest), losses.squared_error(z, nearest.detach())


@quantize.mistake("the encoder learns from the reconstruction, but so does the codebook.")
def straight_through_without_detach(quantizer, z):
    codes, nearest = found(quantizer, z)
    return nearest + z - z.detach(), codes, *quantization_losses(z, nearest)


@quantize.mistake("the decoder gets the encoder's own vectors; nothing is quantised.")
def forgets_to_quantise(quantizer, z):
    codes, nearest = found(quantizer, z)
    return z, codes, *quantization_losses(z, nearest)


@quantize.mistake("the codes are those of vectors that mix several positions.")
def wrong_axis_last(quantizer, z):
    vectors = z.reshape(-1, z.shape[1])
    codes = nearest_code(vectors, quantizer.codebook).view(len(z), *z.shape[2:])
    nearest = quantizer.lookup(codes)
    return straight_through(z, nearest), codes, *quantization_losses(z, nearest)


@quantize.mistake("the losses are means over positions and dimensions; sums are wanted, as everywhere in the course.")
def mean_over_positions(quantizer, z):
    codes, nearest = found(quantizer, z)
    terms = (term / nearest[0].numel() for term in quantization_losses(z, nearest))
    return straight_through(z, nearest), codes, *terms


@quantize.mistake("the commitment loss is multiplied by β already; the model's own loss does that.")
def beta_already(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook, commitment = quantization_losses(z, nearest)
    return straight_through(z, nearest), codes, codebook, 0.25 * commitment


# 7b.3 init_statistics

statistics = Exercise(
    "7b.3",
    models.EMAQuantizer.init_statistics,
    hints=(
        "The codebook is sums / counts. What do the initial counts and sums give, before any batch?",
        "A code that replaces nothing keeps 0.99 of its sum and count. With which initial counts does it not move?",
        "If every code had replaced one vector, equal to its own: what would be its count, and what its sum?",
    ),
)


@statistics.check
def _(answer):
    for num_codes, dim in ((6, 3), (1, 2)):
        quantizer = models.EMAQuantizer(num_codes=num_codes, dim=dim).to(default_device())
        codebook = quantizer.codebook
        codebook.normal_(std=2.0)
        before = codebook.clone()
        for buffer in (quantizer.counts, quantizer.sums):
            buffer.fill_(77.0)
        call(answer, quantizer)
        counts, sums = (dict(quantizer.named_buffers()).get(name) for name in ("counts", "sums"))
        observe([counts, sums])
        of = f"of {num_codes} codes, a buffer of the quantizer,"
        require_tensor(counts, (num_codes,), f"counts {of}", device=codebook.device)
        require_tensor(sums, (num_codes, dim), f"sums {of}", device=codebook.device)
        moved = quantizer.codebook is not codebook or not torch.equal(codebook, before)
        require(not moved, "it changes the codebook.")
        require(not (counts.requires_grad or sums.requires_grad), "counts or sums carry gradients.")
        require_same(sums / counts[:, None], before, "before any batch, sums / counts")
        low, high = counts.min().item(), counts.max().item()
        require(low > 0.99, f"an initial count is {low:.3g}: below the threshold of 1 a code is dead.")
        require(high < 10, f"an initial count is {high:.3g}: a code that replaces one vector per batch hardly moves.")
        sums.mul_(0.99)
        require(torch.equal(codebook, before), "when the sums change, the codebook does: they share their memory.")
        counts[0] = 7
        require(num_codes == 1 or counts[1] != 7, "all counts are one number in memory: when one changes, all do.")


@statistics.given("after the first batches some codebook vectors are far larger than any output of the encoder.")
def zero_counts(quantizer):
    with torch.no_grad():
        quantizer.counts.fill_(0.0)
        quantizer.sums.copy_(quantizer.codebook)


@statistics.mistake("a code that replaces nothing still gets a far larger vector: a hundred thousand times its own.")
def a_small_count(quantizer):
    quantizer.counts.fill_(1e-5)
    quantizer.sums.copy_(quantizer.codebook)


@statistics.mistake("the vector of a code that replaces nothing is nan.")
def both_zero(quantizer):
    quantizer.counts.zero_()
    quantizer.sums.zero_()


@statistics.mistake("all codebook vectors start at 0; what they were is lost.")
def sums_zero(quantizer):
    quantizer.counts.fill_(1.0)
    quantizer.sums.zero_()


@statistics.mistake("the initial codebook is too large, by a factor equal to the number of codes.")
def fractions_for_counts(quantizer):
    quantizer.counts.fill_(1 / len(quantizer.codebook))
    quantizer.sums.copy_(quantizer.codebook)


@statistics.mistake("the initial codebook is right, but one step later a few vectors have moved it far away.")
def nearly_zero(quantizer):
    quantizer.counts.fill_(1e-5)
    quantizer.sums.copy_(1e-5 * quantizer.codebook)


@statistics.mistake("the initial codebook is right, but it hardly moves.")
def very_heavy(quantizer):
    quantizer.counts.fill_(1e4)
    quantizer.sums.copy_(1e4 * quantizer.codebook)


@statistics.mistake("with every step the codebook shrinks by itself.")
def shared_memory(quantizer):
    quantizer.counts.fill_(1.0)
    quantizer.sums = quantizer.codebook.detach()


@statistics.mistake("all counts change at once, whichever code was used.")
def expanded(quantizer):
    quantizer.counts = torch.ones((), device=quantizer.counts.device).expand(len(quantizer.counts))
    quantizer.sums.copy_(quantizer.codebook)


@statistics.mistake("counts and sums are swapped.")
def swapped(quantizer):
    quantizer.sums, quantizer.counts = torch.ones_like(quantizer.counts), quantizer.codebook.clone()


@statistics.mistake("counts and sums are computed, but those of the quantizer do not change.")
def returns_them(quantizer):
    return torch.ones_like(quantizer.counts), quantizer.codebook.clone()


# 7b.4 most codes used

prediction(
    "7b.4",
    answer="4",
    replies={
        "64": "in 64 dimensions a codebook vector can be far from all others in more ways. More space is not more use.",
        "16": "16 is what we have used so far. Is it the best of the three at this, or in the middle?",
    },
    hints=(
        "A code is used if it is the nearest to some vector. Where are nearest neighbours distributed more evenly?",
        "With four dimensions, how far can a codebook vector be from all of the encoder's? And with sixty-four?",
    ),
)

# 7b.5 finite_scalar

scalar = Exercise(
    "7b.5",
    models.finite_scalar,
    hints=(
        "levels.view(-1, 1, 1) broadcasts over z: one L for each dimension. sigmoid, times L - 1, round.",
        "straight_through(scaled, digits) has the value of the digits and the gradient of scaled. Then to [-1, 1].",
        "With levels 8, 4, 4 the code is d0 + 8 · d1 + 8 · 4 · d2. levels.cumprod(0) // levels is 1, 8, 32.",
    ),
)


@scalar.check
def _(answer):
    for levels, (batch, height, width) in (
        ((8, 4, 4), (3, 7, 5)),
        ((5, 5, 5), (1, 2, 6)),
        ((3, 2), (4, 1, 3)),
        ((7,), (2, 3, 1)),
        ((8, 4, 4), (128, 7, 7)),
    ):
        listed = ", ".join(str(level) for level in levels)
        sizes = torch.tensor(levels, device=default_device())
        z = 3 * torch.randn(batch, len(levels), height, width, device=sizes.device)
        z[0, 0, 0, 0] = 40.0  # as large as training may make it
        z = computed(z)
        values, codes = require_several(call(answer, z, sizes), ("values", "codes"))
        right = models.finite_scalar(z, sizes)
        require_tensor(values, z.shape, f"for levels {listed}, the values", device=z.device)
        require_same(values, right[0], f"for levels {listed}, the values")
        require_same_gradients(values, right[0], {"z": z}, f"for levels {listed}, the values")
        require_tensor(codes, (batch, height, width), f"for levels {listed}, the codes", torch.int64, z.device)
        require_same(codes, right[1], f"for levels {listed}, the codes")


def parts(z, levels):
    top = (levels - 1).view(-1, 1, 1)
    scaled = top * z.sigmoid()
    return top, scaled, scaled.detach().round().long(), models.finite_scalar(z, levels)


@scalar.mistake("the values are not rounded.")
def squashed_only(z, levels):
    return 2 * z.sigmoid() - 1, parts(z, levels)[3][1]


@scalar.mistake("no gradient reaches z, since rounding has none. Is anything passed straight through?")
def rounds_without_gradient(z, levels):
    top, scaled, _, right = parts(z, levels)
    return 2 * scaled.round() / top - 1, right[1]


@scalar.mistake("the values are the digits themselves; the decoder gets them scaled to [-1, 1].")
def digits_for_values(z, levels):
    _, scaled, digits, right = parts(z, levels)
    return straight_through(scaled, digits), right[1]


@scalar.mistake("the values run from 0 to 1 instead of -1 to 1.")
def from_zero_to_one(z, levels):
    top, scaled, digits, right = parts(z, levels)
    return straight_through(scaled, digits) / top, right[1]


@scalar.mistake("the values are rounded down: those near the next level get the one below.")
def floors(z, levels):
    top, scaled, _, right = parts(z, levels)
    return 2 * straight_through(scaled, scaled.floor()) / top - 1, right[1]


@scalar.mistake("there is one level too many: L levels are the digits 0 to L - 1.")
def one_level_too_many(z, levels):
    scaled = levels.view(-1, 1, 1) * z.sigmoid()
    return 2 * straight_through(scaled, scaled.round()) / levels.view(-1, 1, 1) - 1, parts(z, levels)[3][1]


@scalar.mistake("the digits are divided by L, which is one more than the largest of them.")
def scaled_with_levels(z, levels):
    top, scaled, digits, right = parts(z, levels)
    return 2 * straight_through(scaled, digits) / (top + 1) - 1, right[1]


@scalar.mistake("z is squashed by tanh, which is twice as steep as the sigmoid.")
def by_tanh(z, levels):
    top, _, _, right = parts(z, levels)
    scaled = top * (z.tanh() + 1) / 2
    return 2 * straight_through(scaled, scaled.detach().round()) / top - 1, right[1]


@scalar.mistake("the values are right, but their gradient is as if z had never been squashed.")
def straight_through_to_z(z, levels):
    values, codes = models.finite_scalar(z, levels)
    return straight_through(z, values), codes


@scalar.mistake("the values are right, but their gradient is that of the digits, before they are scaled to [-1, 1].")
def gradient_of_digits(z, levels):
    top, scaled, digits, right = parts(z, levels)
    return straight_through(scaled, 2 * digits / top - 1), right[1]


@scalar.mistake("the codes are sums of the digits: different digits get the same code.")
def sum_of_digits(z, levels):
    _, _, digits, right = parts(z, levels)
    return right[0], digits.sum(dim=1)


@scalar.mistake("in the codes the last digit is the least significant; the first should be.")
def last_digit_least(z, levels):
    codes = 0
    for level, digit in zip(levels, parts(z, levels)[2].unbind(dim=1)):
        codes = codes * level + digit
    return parts(z, levels)[3][0], codes


@scalar.mistake("in the codes the first digit has the weight L0; it should have the weight 1.")
def cumulative_product_alone(z, levels):
    _, _, digits, right = parts(z, levels)
    return right[0], (levels.cumprod(0).view(-1, 1, 1) * digits).sum(dim=1)


@scalar.mistake("in the codes a digit's weight is its own number of levels. What is it for one after two others?")
def by_levels(z, levels):
    _, _, digits, right = parts(z, levels)
    return right[0], (levels.view(-1, 1, 1) * digits).sum(dim=1)


@scalar.mistake("it works only for the levels 8, 4, 4.")
def eight_four_four_only(z, levels):
    return models.finite_scalar(z, torch.tensor([8, 4, 4]).to(levels)[: len(levels)])
