"""Exercises of lesson 7."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from aecourse import losses, models
from aecourse.exercises.checks import (
    Exercise,
    Wrong,
    call,
    computed,
    largest_tensor,
    observe,
    prediction,
    require,
    require_entries,
    require_same,
    require_same_gradients,
    require_several,
    require_tensor,
)
from aecourse.losses import squared_error
from aecourse.training import default_device

# 7.1 nearest_code

nearest = Exercise(
    "7.1",
    models.nearest_code,
    hints=(
        "Expand ‖z - e‖² into three terms. Which needs z and e together? Which is the same for every codebook vector?",
        "All products z·e at once are one matrix product: z @ codebook.T has the shape (n, num_codes).",
        "The term ‖e‖² is one number per codebook vector, (num_codes,), and broadcasts over the rows. argmin finds the "
        "minimum of each row.",
    ),
)


@nearest.check
def _(answer):
    for n, num_codes, dim, scale in ((200, 7, 3, 2), (1, 6, 4, 2), (5, 1, 2, 2), (3, 8, 5, 40), (2000, 512, 16, 2)):
        lengths = torch.linspace(4, 0.3, num_codes).view(-1, 1)
        vectors = scale * torch.randn(n, dim), lengths * torch.randn(num_codes, dim)
        z, codebook = (computed(x.to(default_device())) for x in vectors)
        what = f"for {n:,} vectors and a codebook of {num_codes}, of dimension {dim}, what it returns"
        codes = call(answer, z, codebook)
        require_tensor(codes, (n,), what, torch.int64, z.device)
        low, high = codes.min().item(), codes.max().item()
        require(0 <= low and high < num_codes, f"{what} runs from {low} to {high}; 0 to {num_codes - 1} are possible.")
        distances = torch.cdist(z.detach().double(), codebook.detach().double())
        found = distances.gather(1, codes[:, None])[:, 0]
        far = int((found > distances.amin(dim=1) + 1e-3).sum())
        require(not far, f"{what} is not the index of the nearest codebook vector for {far:,} of them.")
    table, most = 4 * n * num_codes * dim, largest_tensor(answer, z, codebook)
    require(most < table, f"{what} is right, but a tensor of {most / 2**20:.0f} MiB was made on the way.")


nearest.add_mistakes(
    farthest=("those are the indices of the farthest codebook vectors.", lambda z, e: torch.cdist(z, e).argmax(1)),
    largest_product=("those have the largest dot product z·e. Long codebook vectors win it: does their length count?",
                        lambda z, e: (z @ e.T).argmax(1)),
    forgets_the_two=("the product z·e is counted once instead of twice.",
                        lambda z, e: (e.square().sum(1) - z @ e.T).argmin(1)),
    adds_the_product=("the product z·e has the wrong sign in your ‖z - e‖².",
                         lambda z, e: (e.square().sum(1) + 2 * z @ e.T).argmin(1)),
    subtracts_the_square=("‖e‖² has the wrong sign in your ‖z - e‖².",
                             lambda z, e: (-2 * z @ e.T - e.square().sum(1)).argmin(1)),
    cosine=("those have the largest cosine similarity to z. The lengths count, too.",
               lambda z, e: (F.normalize(z) @ F.normalize(e).T).argmax(1)),
    absolute_differences=("it sums absolute differences. The distance is the Euclidean one.",
                             lambda z, e: torch.cdist(z, e, p=1).argmin(1)),
    without_z=("it is the shortest codebook vector, for every z. Where is z?",
                  lambda z, e: e.square().sum(1).argmin().repeat(len(z))),
    counts_from_one=("it counts from 1; the first row of the codebook is code 0.",
                        lambda z, e: models.nearest_code(z, e) + 1),
    looks_up=("those are the vectors of the codebook. Their indices are wanted.",
                 lambda z, e: e[models.nearest_code(z, e)]),
    along_the_vectors=("it finds a vector for each code; a code for each vector is wanted. Along which axis?",
                          lambda z, e: torch.cdist(z, e).argmin(0)),
    smallest_distances=("those are the smallest distances. Where in its row is each of them?",
                           lambda z, e: torch.cdist(z, e).amin(1)),
    squeezes=("a batch of a single vector has lost its axis: something is squeezed.",
                 lambda z, e: models.nearest_code(z, e).squeeze()),
    differences=("the codes are right, but all differences were held at once, n × num_codes × dim numbers.",
                    lambda z, e: (z[:, None] - e).square().sum(2).argmin(1)),
)  # fmt: skip

# 7.2 straight_through

through = Exercise(
    "7.2",
    models.straight_through,
    hints=(
        "Work out the value first. detach changes no value, and a + (b - a) is b.",
        "Now the gradient: what stands inside detach is a constant. Which of the two should be left outside?",
    ),
)


@through.check
def _(answer):
    for shape in ((2, 3, 4, 5), (1, 2, 1, 1), (5, 3), (64, 16, 7, 7)):
        z, quantized = (computed(torch.randn(shape).to(default_device())) for _ in range(2))
        what = f"for z and quantized of the shape {shape}, what it returns"
        result, right = call(answer, z, quantized), models.straight_through(z, quantized)
        require_tensor(result, shape, what, device=z.device)
        require_same(result, right, what)
        require_same_gradients(result, right, {"z": z, "quantized": quantized}, what)
        result = call(answer, z, quantized.detach())
        require_same(result, right, f"with a codebook that needs no gradient, {what}")
        require_same_gradients(result, right, {"z": z}, f"with a codebook that needs no gradient, {what}")
        with torch.no_grad():
            require_same(call(answer, z, quantized), right, f"within no_grad, {what}")
        require_same(call(answer, z.detach(), quantized.detach()), right, f"of tensors without gradients, {what}")


@through.given(
    "its value is that of z: nothing is quantised. Decoding from codes gives the decoder other vectors than training."
)
def the_bug_itself(z, quantized):
    return quantized + (z - quantized).detach()


through.add_mistakes(
    returns_quantized=("its value is right, but the encoder learns nothing from it, and the codebook does.",
                          lambda z, q: q),
    detaches_nothing=("its value is right, but the encoder learns nothing: the gradient of z cancels.",
                         lambda z, q: z + (q - z)),
    detaches_quantized=("its value is right, but no gradient passes through it.", lambda z, q: q.detach()),
    both_ways=("its value is right, but the reconstruction moves the codebook: quantized gets a gradient.",
                  lambda z, q: q + z - z.detach()),
    the_wrong_z=("its value is right, but the gradient reaches z with the wrong sign: the encoder's loss would rise.",
                    lambda z, q: z.detach() + (q.detach() - z)),
    half_a_gradient=("its value is right, but z gets half of the gradient that arrives.",
                        lambda z, q: z / 2 + (q - z / 2).detach()),
    mean_of_both=("its value is half way between z and quantized; it should be that of quantized.",
                     lambda z, q: (z + q.detach()) / 2),
    forgets_to_add=("its value is the difference of the two.", lambda z, q: (q - z).detach()),
    forgets_to_subtract=("its value is the sum of the two.", lambda z, q: z + q.detach()),
    needs_a_gradient=("the encoder learns only if the codebook requires a gradient; in part 2 it does not.",
                         lambda z, q: models.straight_through(z, q) if q.requires_grad else q),
)  # fmt: skip

# 7.3 quantization_losses

vq_losses = Exercise(
    "7.3",
    losses.quantization_losses,
    hints=(
        "Both are the same squared error, summed over all positions and dimensions of an image: losses.squared_error.",
        "What should not move is a constant: detach it. That is the stop-gradient.",
        "The codebook loss moves quantized towards a constant z; the commitment loss does the reverse.",
    ),
)


@vq_losses.check
def _(answer):
    for shape in ((3, 2, 4, 5), (1, 16, 7, 7), (4, 2, 1, 1), (32, 16, 7, 7)):
        z, quantized = torch.randn(shape), 3 * torch.randn(shape)
        if len(z) > 1:
            quantized[0] = z[0] + 0.1 * (shape[0] == 3)  # an image close to its codebook vectors, or equal to them
        z, quantized = (computed(x.to(default_device())) for x in (z, quantized))
        quantized = quantized.movedim(1, -1).contiguous().movedim(-1, 1)  # in memory as lookup makes it
        both, right = call(answer, z, quantized), losses.quantization_losses(z, quantized)
        what = f"for a batch of the shape {shape},"
        if torch.is_tensor(both) and both.ndim == 2:  # one above the other
            both = tuple(both)
        require_several(both, ("codebook", "commitment"), f"{what} what it returns")
        require_both(both, right, {"z": z, "quantized": quantized}, what)


def require_both(yours, right, inputs, what, right_inputs=None):
    """Refuse a codebook loss and a commitment loss that are wrong, or that move what they should not."""
    pairs = {f"{what} the {name} loss": pair for name, *pair in zip(("codebook", "commitment"), yours, right)}
    for name, (loss, wanted) in pairs.items():
        require_tensor(loss, wanted.shape, name, device=wanted.device)
    for name, (loss, wanted) in pairs.items():
        require_same(loss, wanted, name)
    observe([moved(loss, inputs.values()) for loss in yours])
    for name, (loss, wanted) in pairs.items():
        require_same_gradients(loss, wanted, inputs, name, right_inputs)


def moved(loss, inputs):
    """Which of the inputs a loss has a gradient for, as a list."""
    if not loss.requires_grad:
        return []
    gradients = torch.autograd.grad(loss.sum(), list(inputs), retain_graph=True, allow_unused=True)
    return [g is not None and g.any().item() for g in gradients]


def of_both(change):
    """An answer that changes both of the right losses."""
    return lambda z, q: tuple(change(loss, z) for loss in losses.quantization_losses(z, q))


def of_squares(change):
    """An answer that sums up the differences, of which one side is detached, in its own way."""
    return lambda z, q: (change(q - z.detach()), change(z - q.detach()))


vq_losses.add_mistakes(
    swaps=("the two losses are swapped: the first moves the encoder, the second the codebook.",
              lambda z, q: losses.quantization_losses(z, q)[::-1]),
    detaches_none=("both losses move both, z and the codebook: it is one loss twice. Which should move in which?",
                      lambda z, q: (squared_error(z, q), squared_error(z, q))),
    detaches_one=("the codebook loss moves z as well; it should move only the codebook.",
                     lambda z, q: (squared_error(z, q), squared_error(z, q.detach()))),
    detaches_the_other=("the commitment loss moves the codebook as well; it should move only the encoder.",
                           lambda z, q: (squared_error(z.detach(), q), squared_error(z, q))),
    codebook_twice=("both losses move the codebook: the encoder would not commit to anything.",
                       lambda z, q: (squared_error(z.detach(), q), squared_error(z.detach(), q))),
    commitment_twice=("both losses move z: the codebook would never move.",
                         lambda z, q: (squared_error(z, q.detach()), squared_error(z, q.detach()))),
    detaches_both=("the codebook loss moves nothing: both of its inputs are detached.",
                      lambda z, q: (squared_error(z, q).detach(), squared_error(z, q.detach()))),
    detaches_a_factor=("the gradients are half as large as they should be: is a factor of the square detached?",
                          of_squares(lambda d: (d * d.detach()).flatten(1).sum(1))),
    batch_mean=("each loss is a mean over the batch; a loss for each image is wanted.",
                   of_both(lambda loss, z: loss.mean())),
    repeats_the_mean=("every image has the batch's mean for its loss; each has a loss of its own.",
                         of_both(lambda loss, z: loss.mean().repeat(len(z)))),
    of_each_position=("those are losses for each position; sum over the positions of an image.",
                         of_squares(lambda d: d.square().sum(1))),
    mean_of_an_image=("each loss is a mean over an image; sum over its positions and dimensions.",
                         of_both(lambda loss, z: loss / z[0].numel())),
    root=("a root is taken: those are distances, not their squares.", of_both(lambda loss, z: loss.sqrt())),
    absolute=("absolute differences are summed; square them.", of_squares(lambda d: d.abs().flatten(1).sum(1))),
    with_beta=("the commitment loss has a weight already. β comes later.",
                  lambda z, q: (squared_error(z.detach(), q), 0.25 * squared_error(z, q.detach()))),
)  # fmt: skip

# 7.4 VectorQuantizer

quantizer = Exercise(
    "7.4",
    models.VectorQuantizer,
    hints=(
        "Four steps: the vectors, as rows; their codes; the codebook vectors of these codes; what to return.",
        "(batch, dim, height, width) becomes rows by z.movedim(1, -1).flatten(end_dim=-2); the codes go back by view.",
        "lookup returns the axes in order. Then straight_through and quantization_losses do the rest.",
    ),
)


@quantizer.check
def _(answer):
    for shape, num_codes in (((3, 5, 4, 2), 6), ((1, 5, 7, 7), 6), ((2, 3, 1, 1), 4), ((16, 16, 7, 7), 128)):
        model, right = (kind(num_codes=num_codes, dim=shape[1]) for kind in (answer, models.VectorQuantizer))
        require(isinstance(model, nn.Module), "it is not an nn.Module.")
        yours, wanted = ({name: tuple(x.shape) for name, x in m.state_dict().items()} for m in (model, right))
        as_given = yours == wanted and len(list(model.parameters())) == 1 and getattr(model, "dim", None) == shape[1]
        require(
            as_given, f"leave __init__ as it was given: num_codes, dim, codebook and initialized. Yours holds {yours}."
        )
        require(hasattr(model, "lookup"), "lookup is gone, which decode calls: leave it as it was given.")
        with torch.no_grad():
            right.codebook.normal_()
            right.initialized.fill_(True)
        model.load_state_dict(right.state_dict())
        model, right, z = model.to(default_device()), right.to(default_device()), torch.randn(shape)
        z = computed(z.to(default_device()))
        for training in (True, False):  # evaluation comes without gradients, as in the lesson
            what = f"in {'training' if training else 'evaluation'}, for z of the shape {shape},"
            with torch.set_grad_enabled(training):
                result, (quantized, codes, *both) = call(model.train(training), z), right.train(training)(z)
            names = "the quantised batch", "the map of codes", "the codebook loss", "the commitment loss"
            require_several(result, names, f"{what} what forward returns")
            require_tensor(result[0], shape, f"{what} {names[0]}", device=z.device)
            require_tensor(result[1], codes.shape, f"{what} {names[1]}", torch.int64, z.device)
            require_same(result[1], codes, f"{what} {names[1]}")
            require_same(result[0], quantized, f"{what} {names[0]}")
            inputs, ours = ({"z": z, "the codebook": m.codebook} for m in (model, right))
            require_same_gradients(result[0], quantized, inputs, f"{what} {names[0]}", ours)
            require_both(result[2:], both, inputs, what, ours)
        vectors = call(model.lookup, codes)
        require_tensor(vectors, shape, "what lookup, which was given, returns", device=z.device)
        require_same(vectors, right.lookup(codes), "what lookup, which was given, returns")
    require_initialised_by_first_batch(answer)


def require_initialised_by_first_batch(answer):
    """Refuse a quantiser that does not initialise its codebook in training, with different vectors of a batch."""
    z = torch.randn(3, 5, 4, 2)
    z[:, :, :2] = 0.5  # half of the vectors are the same, as for the black of digits
    z, codebooks = z.to(default_device()), []
    rows = z.movedim(1, -1).flatten(end_dim=-2)
    call(answer(num_codes=6, dim=5).to(z.device).eval(), z)  # which must not initialise it
    for _ in range(20):
        model = answer(num_codes=6, dim=5).to(z.device)
        parameter, before = model.codebook, model.codebook.detach().clone()
        codes = call(partial(model.train()), z, sampled=True)[1]  # partial: the model may change here
        after = model.codebook.detach().clone()
        changed = not torch.equal(before, after)
        observe(bool(model.initialized))
        require(
            changed,
            f"after the first batch in training, the codebook is unchanged; initialized is {model.initialized}.",
        )
        among, among_cut = ((torch.cdist(after, x).amin(dim=1) < 1e-3).all().item() for x in (rows, z.reshape(-1, 5)))
        observe(among_cut)
        require(among, "after the first batch in training, the codebook holds vectors that are not of the batch.")
        require(model.codebook is parameter, "the first batch makes a new parameter of the codebook.")
        require(bool(model.initialized), "after the first batch in training, initialized is still False.")
        require(model.training, "after the first batch, the model is not in training mode any more.")
        own = torch.equal(codes.flatten(), models.nearest_code(rows, after))
        require(own, "the codes of the first batch are not those of the codebook that it initialised.")
        codebooks.append(after)
        model(z.flip(0))
        require(torch.equal(after, model.codebook.detach()), "the second batch changes the codebook again.")
    different = rows.unique(dim=0)
    taken = torch.cdist(torch.cat(codebooks), different).argmin(dim=1).bincount(minlength=len(different)) > 0
    observe(taken)
    fewest = min(len(codebook.unique(dim=0)) for codebook in codebooks)
    require(fewest == 6, f"of 6 initial codebook vectors {fewest} are different, of {len(different)} in the batch.")
    require(taken.all(), f"in 20 initialisations, {int((~taken).sum())} vectors of the batch were never chosen.")
    call(partial(answer(num_codes=6, dim=5).to(z.device)), z[:1, :, :1, :1], sampled=True)  # one vector for six codes


class GivenQuantizer(models.VectorQuantizer):
    """The cell as given, and forward in parts, each of which a mistake may replace."""

    def rows(self, z):
        return z.detach().movedim(1, -1).flatten(end_dim=-2)

    def needs_init(self):
        return self.training and not self.initialized

    def initialise(self, rows):
        self.init_codebook(rows)

    @staticmethod
    def put_together(z, codes, quantized):
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)

    def forward(self, z):
        rows = self.rows(z)
        if self.needs_init():
            self.initialise(rows)
        codes = models.nearest_code(rows, self.codebook).view(len(z), *z.shape[2:])
        return self.put_together(z, codes, self.lookup(codes))


def with_part(piece, table):
    """Register mistakes with one part of forward replaced: {name: (message, method)}."""
    for name, (message, method) in table.items():
        quantizer.mistake(message)(type(name, (GivenQuantizer,), {piece: method}))


def set_codebook(model, rows):
    """Initialise the codebook with exactly these rows."""
    model.codebook.data.copy_(rows)
    model.initialized.fill_(True)


with_part("rows", {
    "CutsAcrossPositions": ("the rows are no vectors: (batch, dim, height, width) is reshaped without moving an axis.",
                            lambda self, z: z.detach().reshape(-1, z.shape[1])),
    "WidthFirst": ("codes are at the wrong positions: which axis came first when the rows were made?",
                   lambda self, z: z.detach().transpose(1, 3).reshape(-1, z.shape[1])),
})  # fmt: skip
right_parts = GivenQuantizer.put_together
with_part("put_together", {
    "TheWrongWay": ("the quantised vectors are z itself: what does the value of straight_through come from?",
                    lambda self, z, k, q: (models.straight_through(q, z), *right_parts(z, k, q)[1:])),
    "ViewsBack": ("the codes are right, but (batch, height, width, dim) was viewed as (batch, dim, height, width).",
                  lambda self, z, k, q: right_parts(z, k, self.codebook[k].view(z.shape))),
    "NotStraightThrough": ("the quantised vectors are returned as looked up: no gradient of the decoder reaches z.",
                           lambda self, z, k, q: (q, *right_parts(z, k, q)[1:])),
    "MovesTheCodebook": ("the gradient of the decoder reaches the codebook, too; it should reach only z.",
                         lambda self, z, k, q: (q + z - z.detach(), *right_parts(z, k, q)[1:])),
    "SwapsTheLosses": ("the two losses are swapped. Which input comes first?",
                       lambda self, z, k, q: (*right_parts(z, k, q)[:2], *losses.quantization_losses(q, z))),
    "LossesOfWhatWentThrough": ("the losses use the output of straight_through: they do not move the codebook.",
                                lambda self, z, k, q: right_parts(z, k, models.straight_through(z, q))),
    "LooksUpDetached": ("the looked-up vectors are detached: no loss moves the codebook.",
                        lambda self, z, k, q: right_parts(z, k, q.detach())),
    "LossesOfDetachedZ": ("the commitment loss uses a detached z: nothing keeps the encoder near the codebook.",
                          lambda self, z, k, q: (*right_parts(z, k, q)[:2], *right_parts(z.detach(), k, q)[2:])),
})  # fmt: skip
with_part("needs_init", {
    "InitialisesEveryTime": ("forward initialises it again: what the codebook has learned is lost. Read initialized.",
                             lambda self: self.training),
    "InitialisesInEvaluation": ("the codebook is initialised in evaluation mode, too; it should be in training only.",
                                lambda self: not self.initialized),
    "NeverInitialises": ("the codebook is never initialised; the first training batch should.", lambda self: False),
})  # fmt: skip
with_part("initialise", {
    "TheFirstImage": ("the codebook is initialised with one image; give init_codebook all vectors of the batch.",
                      lambda self, rows: self.init_codebook(rows[:8])),
    "TheFirstVectors": ("the first vectors initialise the codebook, many of them equal: let init_codebook choose.",
                        lambda self, rows: set_codebook(self, rows[: len(self.codebook)])),
    "AnyVectors": ("some initial codebook vectors are equal; init_codebook would take different ones.",
                   lambda self, rows: set_codebook(self, rows[torch.randint(len(rows), self.codebook.shape[:1])])),
    "TheFirstDifferent": ("the same few vectors, in order, initialise it each time: let init_codebook choose.",
                          lambda self, rows: set_codebook(self, rows.unique(dim=0)[: len(self.codebook)])),
    "CutRows": ("the initial codebook vectors are no vectors of z: was an axis moved before the reshape?",
                lambda self, rows: self.init_codebook(rows.view(3, 4, 2, 5).movedim(-1, 1).reshape(-1, 5))),
    "NewParameter": ("the codebook is another parameter now; the optimiser holds the old one.",
                     lambda self, x: (self.init_codebook(x), setattr(self, "codebook", nn.Parameter(+self.codebook)))),
})  # fmt: skip


@quantizer.mistake("the first batch initialises the codebook, but its codes are from before. Initialise first.")
class InitialisesTooLate(GivenQuantizer):
    def forward(self, z):
        codes = models.nearest_code(self.rows(z), self.codebook).view(len(z), *z.shape[2:])
        result = self.put_together(z, codes, self.lookup(codes))
        if self.needs_init():
            self.init_codebook(self.rows(z))
        return result


# 7.5 vq_loss

loss = Exercise(
    "7.5",
    models.VQVAE.loss,
    hints=(
        "Read the formula term by term, and the code term by term.",
        "The weight is on the term that moves the encoder towards the codebook. Which of the two is that?",
    ),
    name="vq_loss",
)


@loss.check
def _(answer):
    names = "reconstruction", "codebook", "commitment", "loss"
    for beta, n, training, learning in ((0.3, 3, 1, 1), (4.0, 1, 1, 1), (4.0, 2, 0, 1), (0.0, 2, 1, 1), (2.0, 2, 0, 0)):
        model = LessonVQVAE(beta).to(default_device()).train(bool(training))
        x = (torch.rand(n, 1, 28, 28) * torch.linspace(0.4, 1, n).view(n, 1, 1, 1)).to(default_device())
        what = f"in {'training' if training else 'evaluation'}, for {n} images and beta = {beta:g},"
        with torch.set_grad_enabled(bool(learning)):
            right, terms = models.VQVAE.loss(model, x), call(answer, model, x)
        require(model.beta == beta, f"model.beta was {beta:g} and is {model.beta} now.")
        require_entries(terms, names, f"{what} what it returns")
        for name in names:
            require_tensor(terms[name], (), f"{what} {name}", device=x.device)
            require_same(terms[name], right[name], f"{what} {name}")
        layers = {"the encoder's first layer": model.encoder[0], "the encoder's last layer": model.encoder[-1]}
        layers |= {"the decoder's first layer": model.decoder[0], "the decoder's last layer": model.decoder[-2]}
        inputs = {key: layer.weight for key, layer in layers.items()} | {"the codebook": model.quantizer.codebook}
        for name in names:
            require_same_gradients(terms[name], right[name], inputs, f"{what} {name}")


class UnequalLosses(models.VectorQuantizer):
    """A quantiser whose two losses differ in value, as those of a real one never do."""

    def forward(self, z):
        """The quantised vectors, their codes, and two losses."""
        quantized, codes, codebook, commitment = super().forward(z)
        return quantized, codes, 2 * codebook, 5 * commitment


class LessonVQVAE(models.VQVAE):
    """A model whose terms all differ in size."""

    def __init__(self, beta):
        super().__init__(UnequalLosses(num_codes=5, dim=3), beta)
        self.quantizer.initialized.fill_(True)
        nn.init.normal_(self.quantizer.codebook)

    def loss(self, x):
        """What the exercise is to replace."""
        raise Wrong("it calls model.loss, which in the lesson calls this very function.")


@loss.given("as β grows, the codebook is pulled more to the encoder, the encoder no more to the codebook.")
def the_bug_as_given(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    reconstruction = squared_error(model.decoder(quantized), x)
    loss = reconstruction + model.beta * codebook + commitment
    terms = {"loss": loss, "reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}
    return {name: term.mean() for name, term in terms.items()}


def added_up(model, x, x_hat, codebook, commitment):
    """The four entries, from losses of each image."""
    terms = squared_error(x_hat, x).mean(), codebook.mean(), commitment.mean()
    total = terms[0] + terms[1] + model.beta * terms[2]
    return dict(zip(("loss", "reconstruction", "codebook", "commitment"), (total, *terms)))


def weighted(weight):
    """An answer with the right terms and the loss weight(beta, reconstruction, codebook, commitment)."""

    def answer(model, x):
        terms = models.VQVAE.loss(model, x)
        return terms | {"loss": weight(model.beta, terms["reconstruction"], terms["codebook"], terms["commitment"])}

    return answer


loss.add_mistakes(
    both_carry_beta=("as β grows, both terms get more weight, codebook and commitment.",
                        weighted(lambda b, r, e, c: r + b * (e + c))),
    no_beta=("whatever β is, the loss is the same.", weighted(lambda b, r, e, c: r + e + c)),
    no_codebook=("the codebook never moves: no term of the loss moves it.", weighted(lambda b, r, e, c: r + b * c)),
    no_commitment=("no term of the loss keeps the encoder near the codebook.", weighted(lambda b, r, e, c: r + e)),
    no_images=("the loss does not depend on the reconstructions.", weighted(lambda b, r, e, c: e + b * c)),
    beta_on_images=("as β grows, the reconstruction gets more weight.", weighted(lambda b, r, e, c: b * r + e + c)),
    a_constant=("whatever β is, the commitment has the weight 0.25.", weighted(lambda b, r, e, c: r + e + 0.25 * c)),
    rewards=("the loss falls as the encoder moves away from the codebook.", weighted(lambda b, r, e, c: r + e - b * c)),
    codebook_stays=("the loss is right, but the codebook never moves.",
                       weighted(lambda b, r, e, c: r + e.detach() + b * c)),
    encoder_runs=("the loss is right, but the encoder does not stay near the codebook.",
                     weighted(lambda b, r, e, c: r + e + b * c.detach())),
    images_stay=("the loss is right, but the reconstructions never get better.",
                    weighted(lambda b, r, e, c: r.detach() + e + b * c)),
    reports_the_weight=("the loss is right, but its entry commitment changes with β. Report the term itself.",
                           lambda m, x: (t := models.VQVAE.loss(m, x)) | {"commitment": m.beta * t["commitment"]}),
    sums_over_the_batch=("a batch repeated twice has twice the loss.",
                            lambda model, x: {name: len(x) * y for name, y in models.VQVAE.loss(model, x).items()}),
)  # fmt: skip


@loss.mistake("the reconstruction is right, but the encoder learns nothing from it.")
def decodes_the_codes(model, x):
    _, codes, *both = model.quantizer(model.encoder(x))
    return added_up(model, x, model.decode(codes), *both)


@loss.mistake("the reconstruction is not decoded from the quantised vectors.")
def decodes_unquantised(model, x):
    z = model.encoder(x)
    return added_up(model, x, model.decoder(z), *model.quantizer(z)[2:])


@loss.mistake("the reconstruction has almost no weight next to the other terms, which are sums over an image.")
def mean_over_pixels(model, x):
    quantized, _, *both = model.quantizer(model.encoder(x))
    pixels = x[0].numel() ** 0.5
    return added_up(model, x / pixels, model.decoder(quantized) / pixels, *both)


# 7.6 a heavy commitment

prediction(
    "7.6",
    answer="less",
    replies={
        "nothing": "the KL grows with every nat of information. The commitment loss grows with the distance to a "
        "codebook vector, whichever it is.",
        "as much": "the weight on a distance from a codebook vector is 80 times what it was: will an encoder still "
        "move towards new ones?",
    },
    hints=(
        "Is there a term in the loss that falls when fewer codes are distinguished?",
        "The commitment loss is a distance to the nearest codebook vector, whichever that is.",
    ),
)
