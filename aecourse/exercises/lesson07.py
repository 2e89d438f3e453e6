"""Checks of lesson 7."""

import torch

from aecourse.exercises.checks import Bug, Wrong, call, check, close, require, require_choice, require_tensor
from aecourse.losses import quantization_losses, squared_error
from aecourse.models import VQVAE, VectorQuantizer, nearest_code, straight_through
from aecourse.training import default_device


def _refuse_mistakes(result, right, mistakes):
    """Refuse a result that is that of a known mistake, with its message, unless it is the right one, too."""
    for message, wrong in mistakes.items():
        require(close(wrong, right) or not close(result, wrong), message)


def _call(function, z, *inputs):
    """`call`, for what also must not cut its inputs off from what they came from."""
    result = call(function, z, *inputs)
    for name, x in zip(("z", "quantized"), (z, *inputs)):
        require(x.requires_grad, f"{name} itself is cut off now, for its other users, too: detach makes a new tensor.")
    return result


def _gradients(loss, *inputs):
    """The gradients of the sum of a loss by each of the inputs; None where it is zero or does not reach."""
    if not loss.requires_grad:
        return [None] * len(inputs)
    gradients = torch.autograd.grad(loss.sum(), inputs, retain_graph=True, allow_unused=True)
    return [g if g is not None and g.any() else None for g in gradients]


def _require_several(out, number, wanted):
    """Refuse a result that is not a tuple or list of so many things."""
    got = len(out) if isinstance(out, (tuple, list)) else "None" if out is None else f"a {type(out).__name__}"
    require(got == number, f"{wanted}; yours returns {got}.")


def _inner(shape, scale=1.0):
    """Random numbers as an encoder hands them on: with gradients, but computed from something else."""
    return (scale * torch.randn(shape)).requires_grad_().clone()


@check(
    "7.1",
    nearest_code,
    hints=(
        "Expand ‖z - e‖² into three terms. Which needs z and e together? Which is the same for every code?",
        "All products z·e at once are one matrix product: z @ codebook.T has the shape (n, codes).",
        "The term ‖e‖² is one number per code, (codes,), and broadcasts over the rows. argmin finds the least per row.",
    ),
)
def _nearest_code(answer):
    torch.manual_seed(1)
    codebook = torch.randn(7, 3) * torch.tensor([0.2, 0.5, 1, 2, 3, 4, 5]).view(7, 1)
    z = 2 * torch.randn(200, 3)
    codes = _codes(answer, z, codebook, "200 vectors")
    right = torch.cdist(z, codebook).argmin(dim=1)
    off = f"{(codes != right).sum()} of 200 vectors get another code than the nearest"
    mistakes = {f"{off}{how}": wrong for how, wrong in _mistakes_of_nearest_code(z, codebook).items()}
    _refuse_mistakes(codes, right, mistakes)
    require(torch.equal(codes, right), f"{off}.")
    for n in (1, 3, 50):
        what = f"{n} vector{'s' if n > 1 else ''}"
        codes = _codes(answer, z[:n], codebook, what)
        require(torch.equal(codes, right[:n]), f"the codes of {what} are right among 200, but not by themselves.")
    one = _codes(answer, z[:5], codebook[:1], "5 vectors and a codebook of a single code")
    require(not one.any(), "a codebook of one vector leaves no choice: code 0.")
    z, codebook = (torch.randn(n, 16) for n in (2000, 512))
    codes = _codes(answer, z, codebook, "2,000 vectors and 512 codes", trained=True)
    distances = torch.cdist(z, codebook)
    found = distances.gather(1, codes.clamp(0, 511)[:, None])[:, 0]
    share = ((found > distances.amin(dim=1) + 1e-3) | (codes != codes.clamp(0, 511))).float().mean().item()
    require(
        share == 0,
        f"right with 7 codes of 3 numbers; with 512 of 16, {share:.1%} of the codes are wrong. "
        f"Those returned run from {codes.min()} to {codes.max()}.",
    )


def _codes(answer, z, codebook, what, trained=False):
    """The codes an answer finds, of the right shape and type. trained: with gradients on, as in the quantiser."""
    if trained:
        codebook = codebook.clone().requires_grad_()
    codes, what = call(answer, z, codebook), f"what it returns for {what}"
    n, dim = z.shape
    looks = {
        (n, dim): "Are those the vectors of the codebook? Their numbers are wanted.",
        (n, len(codebook)): "That is a number for each pair; which code is it, for each vector?",
        (len(codebook),): "That is a vector for each code; a code for each vector is wanted. Along which axis?",
        (): "Is the axis of the vectors squeezed away?" if n == 1 else "Each row of the table has a least of its own.",
    }
    if torch.is_tensor(codes) and codes.shape != (n,):
        look = looks.get(tuple(codes.shape), "")
        require(False, f"{what} has the shape {tuple(codes.shape)}; {(n,)} is wanted. {look}".rstrip())
    require(
        not (isinstance(codes, tuple) and hasattr(codes, "indices")),
        f"{what} is a pair, least values and where they are; the second alone is wanted.",
    )
    require_tensor(codes, (n,), what)
    require(not codes.is_floating_point(), f"{what} is {codes.dtype}: distances? The numbers of codes are wanted.")
    require(codes.dtype == torch.int64, f"the codes are {codes.dtype}; int64 is wanted, which indexes the codebook.")
    return codes


def _mistakes_of_nearest_code(z, codebook):
    products, lengths = z @ codebook.T, codebook.norm(dim=1)
    squares = lengths.square()
    return {
        ". Those are the farthest.": torch.cdist(z, codebook).argmax(dim=1),
        ": the codes with the largest product z·e. Long vectors win it: does their length count?": products.argmax(1),
        ": those with the least product z·e. Which sign does it have in ‖z - e‖²?": products.argmin(dim=1),
        ". Is the product counted once instead of twice?": (squares - products).argmin(dim=1),
        ". Which sign does the product have in ‖z - e‖²?": (squares + 2 * products).argmin(dim=1),
        ". Which sign does ‖e‖² have?": (-squares - 2 * products).argmin(dim=1),
        ". Is the length of e there, where its square belongs?": (lengths - 2 * products).argmin(dim=1),
        ": those of the largest cosine. The lengths count, too.": (products / lengths).argmax(dim=1),
        ": those of the least sum of absolute differences. The distance is the Euclidean one.": (
            torch.cdist(z, codebook, p=1).argmin(dim=1)
        ),
        ": those of the least largest difference. The distance is the Euclidean one.": (
            torch.cdist(z, codebook, p=torch.inf).argmin(dim=1)
        ),
        ": the shortest of the codebook, always. Where is z?": squares.argmin().expand(len(z)),
        ": are positive and negative differences added up?": (
            (z.sum(dim=1, keepdim=True) - codebook.sum(dim=1)).abs().argmin(dim=1)
        ),
        ". Does it count from 1?": torch.cdist(z, codebook).argmin(dim=1) + 1,
    }


@check(
    "7.2",
    straight_through,
    hints=(
        "Say aloud what the value is, where detach changes nothing: a + (b - a) is b.",
        "And the gradient: what stands inside detach is a constant. Which of the two should be left outside?",
    ),
)
def _straight_through(answer):
    for shape in ((2, 3, 4, 4), (1, 2, 1, 1), (5, 3)):
        z, quantized, weights = _inner(shape), _inner(shape), torch.randn(shape)
        out = _call(answer, z, quantized)
        require_tensor(out, shape, "what it returns")
        require(out.dtype == z.dtype, f"of {z.dtype} it makes {out.dtype}.")
        to_z, to_quantized = _gradients(out * weights, z, quantized)
        reached = [name for name, part in (("z", to_z), ("quantized", to_quantized)) if part is not None]
        require(
            not close(out, z),
            "its value is z itself: nothing is quantised. Whoever reads the codes gets other vectors than the decoder. "
            f"And the gradient goes to {' and '.join(reached) or 'neither'}.",
            Bug,
        )
        mistakes = {
            "its value is half way between z and quantized; it should be all quantized.": (z + quantized) / 2,
            "its value is the difference of the two: something is still to be added.": quantized - z,
            "its value is the sum of the two: something is still to be taken away.": quantized + z,
        }
        _refuse_mistakes(out, quantized, mistakes)
        require(close(out, quantized), "its value should be that of quantized; it is neither that nor z.")
        require(reached, "its value is right, but it is cut off: no gradient passes to z.")
        cancels = torch.autograd.grad(out.sum(), z, retain_graph=True, allow_unused=True)[0] is not None
        require(
            to_z is not None,
            f"its value is right, but no gradient reaches z, only quantized{', since those of z cancel' * cancels}: "
            "the encoder would learn nothing from the reconstruction.",
        )
        require(not close(to_z, -weights), "its value is right, but the gradient reaches z with its sign turned.")
        factor = (to_z * weights).sum() / weights.square().sum()
        require(
            close(to_z, weights),
            "a gradient reaches z, but not the one that arrived: it should pass unchanged. "
            f"Along the one that arrived it has {factor:.2f} times the length.",
        )
        require(
            to_quantized is None,
            "the gradient reaches quantized, too. The codebook would then follow the reconstruction.",
        )
        with torch.no_grad():
            require(close(answer(z, quantized), quantized), "within no_grad, its value is another than quantized.")
        with_fixed_codebook = _gradients(answer(z, quantized.detach()) * weights, z)[0]
        require(
            with_fixed_codebook is not None and close(with_fixed_codebook, weights),
            "with a codebook that needs no gradient, no gradient reaches z either.",
        )


@check(
    "7.3",
    quantization_losses,
    hints=(
        "Both are the same squared error: over all places and numbers of an image. losses.squared_error does it.",
        "What should stand still is a constant: detach it.",
        "The codebook loss moves quantized towards a z that stands still; the commitment the other way round.",
    ),
)
def _quantization_losses(answer):
    for shape in ((3, 2, 4, 5), (1, 16, 7, 7), (4, 2, 1, 1)):
        z, quantized = _inner(shape), _inner(shape, scale=3)
        out = _call(answer, z, quantized)
        if torch.is_tensor(out) and out.ndim == 2:  # one above the other
            out = tuple(out)
        _require_several(out, 2, "it should return two losses, codebook and commitment")
        _require_losses(out, z, quantized, quantized)


def _require_losses(losses, z, movable, looked_up):
    """Refuse codebook and commitment loss that are not what they should be, or move what they should not.

    movable: what the codebook loss should move. looked_up: the codebook's vectors for z, computed from movable.
    """
    reached, gradients = [], []
    for name, loss in zip(("codebook", "commitment"), losses):
        what = f"the {name} loss"
        require(torch.is_tensor(loss), f"{what} is a {type(loss).__name__}; a tensor is wanted.")
        _require_per_image(loss, z.detach(), looked_up.detach(), what)
        require(loss.requires_grad, f"{what} has the right value, but no gradient at all: is too much detached?")
        gradients.append(_gradients(loss, z, movable))
        reached.append([part is not None for part in gradients[-1]])
    _require_directions(*reached)
    slopes = _gradients(squared_error(looked_up.detach(), z), z) + _gradients(
        squared_error(looked_up, z.detach()), movable
    )
    yours = gradients[1][0], gradients[0][1]
    for name, slope, part in zip(("commitment", "codebook"), slopes, yours):
        require(
            close(part, slope),
            f"the {name} loss has the right value, but its gradient is not that of a squared error: "
            f"{part.norm() / slope.norm():.2f} times as long. Is part of it detached?",
        )


def _require_per_image(loss, z, quantized, what):
    """Refuse a loss that is not the squared error of each image, summed over places and numbers."""
    batch, dim, height, width = z.shape
    wanted, numbers = squared_error(quantized, z), dim * height * width
    if loss.ndim == 0 and batch > 1:
        mistakes = {
            "the sum over the whole batch": wanted.sum(),
            "the mean over the batch": wanted.mean(),
            "the mean over everything": wanted.mean() / numbers,
        }
        which = [f", {name}" for name, value in mistakes.items() if close(loss, value)]
        require(False, f"{what} is one number{''.join(which[:1])}; one per image is wanted.")
    require(
        numbers == dim or loss.shape != (batch, height, width),
        f"{what} is one number for each place; one per image is wanted.",
    )
    require_tensor(loss, (batch,), what)
    off = f"{what} of the first image is {loss[0].item():.2f} instead of {wanted[0].item():.2f}"
    mistakes = {
        "Is it a mean over the numbers of an image, where the sum is wanted?": wanted / numbers,
        "Is it a mean over the places, where the sum is wanted?": wanted / (height * width),
        "Is it a mean over the numbers of each vector, where the sum is wanted?": wanted / dim,
        "Is it divided by the number of images?": wanted / batch,
        "Is it the same for all images? Each has its own.": wanted.mean().expand(batch),
        "Is a root taken?": wanted.sqrt(),
        "Are absolute differences summed? Squares are wanted.": (z - quantized).abs().flatten(1).sum(dim=1),
        "Is a root taken at each place?": (z - quantized).norm(dim=1).flatten(1).sum(dim=1),
        "Is there a weight in it? β comes later.": wanted / 4,
        "Is it the sum of both losses?": 2 * wanted,
        "Which sign has it?": -wanted,
        "Is it the squared length of z alone?": z.square().flatten(1).sum(dim=1),
        "It is always 0. Is something compared with itself?": torch.zeros_like(wanted),
    }
    _refuse_mistakes(loss, wanted, {f"{off}. {message}": wrong for message, wrong in mistakes.items()})
    require(close(loss, wanted), f"{off}. Are the right vectors compared, one place at a time?")


def _require_directions(codebook, commitment):
    """Refuse losses whose gradients reach what they should not; each is [reaches z, reaches the codebook]."""
    require(
        codebook != [True, True] or commitment != [True, True],
        "both losses move z and the codebook's vectors: it is one loss twice, and β could not say who follows whom.",
    )
    require(
        (codebook, commitment) != ([True, False], [False, True]),
        "the two losses are the wrong way round: the first moves the encoder, the second the codebook.",
    )
    require(codebook != [True, True], "the codebook loss moves z as well: its weight could not be chosen by itself.")
    require(
        commitment != [True, True],
        "the commitment moves the codebook's vectors as well: it should move the encoder alone.",
    )
    require(codebook == [False, True], "the codebook loss moves z alone: the codebook would never move.")
    require(
        commitment == [True, False],
        "the commitment moves the codebook alone: the encoder would not commit to anything.",
    )


@check(
    "7.4",
    VectorQuantizer,
    hints=(
        "Four steps: vectors in rows; their codes; the codes' vectors; and what to return of them.",
        "(batch, dim, height, width) becomes rows by z.movedim(1, -1).flatten(end_dim=-2); the codes go back by view.",
        "lookup has the axes in order already. Then straight_through and quantization_losses do the rest.",
    ),
)
def _vector_quantizer(answer):
    quantizer = _quantizer(answer)
    quantizer.started.fill_(True)
    torch.manual_seed(3)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.randn(6, 5))
    for shape in ((3, 5, 4, 2), (1, 5, 7, 7), (2, 5, 1, 1), (2, 5, 6, 6)):
        z = _inner(shape).to(quantizer.codebook.device)
        for training in (True, False):
            try:
                _require_quantized(quantizer.train(training), z)
            except Wrong as wrong:
                if training:
                    raise
                raise Wrong(f"right in training, but not in evaluation mode: {wrong}") from wrong
        with torch.no_grad():
            require(torch.equal(quantizer(z)[1], quantizer(z.detach())[1]), "within no_grad the codes differ.")
    _require_start(answer)


def _quantizer(answer):
    """A learner's quantiser of 6 codes of 5 numbers; refuse one that lacks what a VQVAE needs of it."""
    quantizer = answer(codes=6, dim=5)
    require(isinstance(quantizer, torch.nn.Module), "it is no nn.Module any more.")
    parameters, saved = dict(quantizer.named_parameters()), quantizer.state_dict()
    codebook = parameters.get("codebook")
    as_given = (
        codebook is not None
        and codebook.shape == (6, 5)
        and "started" in saved
        and getattr(quantizer, "dim", None) == 5
    )
    require(as_given, "its dim, codebook or started is another than it was: leave __init__ as it was given.")
    for name in ("lookup", "start"):
        require(hasattr(quantizer, name), f"{name} is gone, which others call: leave it as it was given.")
    return quantizer.to(default_device())


def _require_quantized(quantizer, z):
    codebook = quantizer.codebook.detach().clone()

    def forward(z):
        out = quantizer(z)
        if not torch.equal(codebook, moved := quantizer.codebook.detach().clone()):
            quantizer(z)
            again = not torch.equal(moved, quantizer.codebook.detach())
            require(not again, "forward moves the codebook with every batch: start is for the first alone.")
            require(False, "forward moves a codebook that has started, if only once: a loaded one would be lost.")
        return out

    out = _call(forward, z)
    wanted = "forward should return four things: quantised vectors, codes, codebook loss, commitment loss"
    _require_several(out, 4, wanted)
    quantized, codes, *losses = out
    right = torch.cdist(z.detach().movedim(1, -1), codebook.expand(len(z), z.shape[2], 6, 5)).argmin(dim=-1)
    _require_codes(codes, right, z.detach(), codebook)
    looked_up = quantizer.codebook[right].movedim(-1, 1)
    found = quantizer.lookup(right)
    as_given = found.shape == z.shape and close(found, looked_up)
    require(as_given, "lookup finds other vectors than it did: leave it as it was given.")
    require_tensor(quantized, z.shape, "what it returns first, the quantised vectors,")
    mistakes = {
        "the quantised vectors are z itself: what does the value of straight_through come from?": z,
        "the codes are right, but the quantised vectors are scattered: their numbers were put into (batch, dim, "
        "height, width) without moving an axis.": looked_up.movedim(1, -1).reshape(z.shape),
    }
    _refuse_mistakes(quantized, looked_up, mistakes)
    require(
        close(quantized, looked_up), "the codes are right, but the quantised vectors are not those of the codebook."
    )
    weights = torch.randn_like(z)
    to_z, to_codebook = _gradients(quantized * weights, z, quantizer.codebook)
    require(
        to_z is not None or to_codebook is not None,
        "the quantised vectors are cut off: no gradient passes through them, neither to z nor to anything else.",
    )
    require(
        to_z is not None,
        "through the quantised vectors a gradient reaches the codebook, and none z. Are they returned as looked up?",
    )
    require(close(to_z, weights), "the gradient does not pass unchanged through the quantised vectors to z.")
    require(
        to_codebook is None, "the gradient of what comes after reaches z and the codebook; it should reach z alone."
    )
    _require_losses(losses, z, quantizer.codebook, looked_up)


def _require_codes(codes, right, z, codebook):
    """Refuse codes that are not the right ones, saying what known mistake they are."""
    require(
        not (torch.is_tensor(codes) and codes.shape == (right.numel(),)),
        "its codes are in one long row; (batch, height, width) is wanted.",
    )
    require_tensor(codes, right.shape, "its map of codes")
    require(codes.dtype == torch.int64, f"its codes are {codes.dtype}; int64 is wanted.")
    scrambled = nearest_code(z.reshape(-1, z.shape[1]), codebook).view_as(right)
    _refuse_mistakes(
        codes,
        right,
        {
            "the codes belong to other vectors: (batch, dim, height, width) was cut into rows of dim without moving "
            "the axis of the numbers to the end first.": scrambled
        },
    )
    share = (codes != right).float().mean().item()
    require(
        share == 0 or not torch.equal(codes.flatten().sort()[0], right.flatten().sort()[0]),
        f"all codes are there, but {share:.0%} not in their places: which axis came first when the rows were made?",
    )
    require(share == 0, f"{share:.0%} of the codes are not those of the nearest codebook vectors.")


def _require_start(answer):
    quantizer = _quantizer(answer)
    z = torch.randn(3, 5, 2, 1, device=quantizer.codebook.device)  # as many vectors as codes
    parameter, before = quantizer.codebook, quantizer.codebook.detach().clone()
    quantizer.eval()(z)
    require(
        torch.equal(before, quantizer.codebook.detach()) and not quantizer.started,
        "in evaluation mode the codebook starts: it should in training alone.",
    )
    codes = quantizer.train()(z)[1]
    started = quantizer.codebook.detach().clone()
    require(
        not torch.equal(before, started),
        f"after the first batch in training the codebook is what it was"
        f"{', although it says that it has started' if quantizer.started else ''}: it should start at vectors of the "
        "batch.",
    )
    rows, cut = z.movedim(1, -1).flatten(end_dim=-2), z.reshape(-1, 5)
    among, among_cut = ((torch.cdist(started, r).amin(dim=1) < 1e-3).all() for r in (rows, cut))
    require(
        among or not among_cut,
        "the codebook starts at rows that no place holds: (batch, dim, height, width) was cut without moving an axis.",
    )
    require(among, "the codebook starts, but not at vectors of the first batch.")
    taken = (torch.cdist(rows, started).amin(dim=1) < 1e-3).sum().item()
    require(taken == 6, f"the codebook starts at {taken} of the 6 vectors of the first batch: give start all of them.")
    require(
        quantizer.codebook is parameter,
        "after the first batch the codebook is a new parameter; the optimiser holds the old one and moves that.",
    )
    require(quantizer.started, "the codebook starts, but started still says no: the next batch would start it anew.")
    require(
        torch.equal(codes.flatten(), nearest_code(rows, started)),
        "the first batch starts the codebook, but its own codes are of the one before.",
    )
    quantizer.train()(torch.randn_like(z))
    require(torch.equal(started, quantizer.codebook.detach()), "the second batch starts the codebook anew.")


def vq_loss(model, x):
    """reconstruction + codebook + beta · commitment, squared errors per image, averaged over the batch.

    model: has encoder, quantizer, decoder and beta. x: (batch, 1, 28, 28).
    Returns {"loss": …, "reconstruction": …, "codebook": …, "commitment": …}, scalars, each with its gradient;
    codebook and commitment are what the quantizer returns.
    """
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    reconstruction = squared_error(model.decoder(quantized), x)
    loss = reconstruction + codebook + model.beta * commitment
    terms = {"loss": loss, "reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}
    return {name: term.mean() for name, term in terms.items()}


class _Quantizer(VectorQuantizer):
    """A quantiser whose two losses differ in value, as those of a real one never do."""

    def forward(self, z):
        quantized, codes, codebook, commitment = super().forward(z)
        return quantized, codes, 2 * codebook, 5 * commitment


class _VQVAE(VQVAE):
    """A model as the lesson makes it, whose terms are all of another size."""

    def __init__(self, beta):
        super().__init__(_Quantizer(codes=5, dim=3), beta)
        self.quantizer.started.fill_(True)
        with torch.no_grad():
            self.quantizer.codebook.normal_()

    def loss(self, x):
        raise Wrong("it calls model.loss, which in the lesson calls this very function.")


@check(
    "7.5",
    vq_loss,
    hints=(
        "Read the formula term by term, and the code term by term.",
        "The weight is on the term that moves the encoder towards the codebook. Which of the two is that?",
    ),
)
def _vq_loss(answer):
    names = "loss", "reconstruction", "codebook", "commitment"
    for beta, n, training, learning in (
        (0.3, 3, True, True),
        (4.0, 1, True, True),
        (4.0, 2, False, True),
        (2.0, 2, False, False),
    ):
        model = _VQVAE(beta).to(default_device()).train(training)
        x = torch.rand(n, 1, 28, 28, device=model.quantizer.codebook.device)
        with torch.set_grad_enabled(learning):
            out, right = call(answer, model, x), vq_loss(model, x)
            unquantized = squared_error(model.decoder(model.encoder(x)), x).mean().item()
        require(
            isinstance(out, dict) and set(names) <= set(out),
            f"it should return a dictionary with {', '.join(names)}; yours returns "
            f"{f'one with {list(out)}' if isinstance(out, dict) else f'a {type(out).__name__}'}.",
        )
        for name in out:  # training averages every entry
            require_tensor(out[name], (), f"its entry {name!r}")
        require(model.training == training, "it switches the model between training and evaluation; fit does that.")
        require(model.beta == beta, f"it sets model.beta to {model.beta:g}, which whoever made the model has chosen.")
        require(all(p.grad is None for p in model.parameters()), "it calls backward; fit does that.")
        _require_terms(out, right, n, beta, unquantized)
        _require_loss(out["loss"], right, beta)
        if learning:
            for name in (*names[1:], "loss"):
                _require_same_gradients(out[name], right[name], name, model)


def _require_terms(out, right, n, beta, unquantized):
    """Refuse entries that differ from the right ones, saying what known mistake they are."""
    for name, numbers, factor in (("reconstruction", 784, 1), ("codebook", 147, 2), ("commitment", 147, 5)):
        value, wanted = out[name].item(), right[name].item()
        off = f"its entry {name!r} is {value:.4g}; the batch mean of the sums over an image is {wanted:.4g}"
        mistakes = {
            "Is beta in it? A weight belongs into the loss alone.": beta * wanted,
            "Is it a mean over the numbers of an image, too?": wanted / numbers,
            "Is it summed over the images?": n * wanted,
            "Which sign has it?": -wanted,
            "Is it computed anew? The quantiser's own is wanted.": wanted / factor,
            "That is the codebook term.": right["codebook"].item(),
            "That is the commitment.": right["commitment"].item(),
        }
        if name == "reconstruction":
            mistakes["Is it an image decoded from what was never quantised?"] = unquantized
            mistakes["Is a root taken of the mean over all pixels?"] = (wanted / 784) ** 0.5
        _refuse_mistakes(value, wanted, {f"{off}. {message}": wrong for message, wrong in mistakes.items()})
        require(close(value, wanted), f"{off}.")


def _require_loss(loss, right, beta):
    """Refuse a loss that is not the weighted sum of its terms, saying what known mistake it is."""
    r, codebook, commitment = (right[name].item() for name in ("reconstruction", "codebook", "commitment"))
    wanted, value = right["loss"].item(), loss.item()
    require(
        not close(value, r + beta * codebook + commitment),
        f"at beta = {beta:g} the codebook term counts {beta:g} times and the commitment once.",
        Bug,
    )
    off = f"at beta = {beta:g} the loss is {value:.4g} instead of {wanted:.4g}"
    mistakes = {
        "Both terms carry beta.": r + beta * (codebook + commitment),
        "All three terms carry beta.": beta * (r + codebook + commitment),
        "Where is beta?": r + codebook + commitment,
        "Where is the codebook term?": r + beta * commitment,
        "Where is the commitment?": r + codebook,
        "Where is the commitment? And beta weighs the codebook term.": r + beta * codebook,
        "Where is the reconstruction?": codebook + beta * commitment,
        "It holds the reconstruction alone.": r,
        "Is the commitment divided by beta?": r + codebook + commitment / beta,
        "Is beta on the reconstruction?": beta * r + codebook + commitment,
        "Is 0.25 written in, where model.beta is meant?": r + codebook + 0.25 * commitment,
        "Is beta counted twice?": r + codebook + beta * beta * commitment,
        "Is the other term weighed by 1 - beta?": r + (1 - beta) * codebook + beta * commitment,
        "Is the codebook term in it twice, the commitment never?": r + (1 + beta) * codebook,
        "Is the commitment in it twice, the codebook term never?": r + (1 + beta) * commitment,
        "Which sign has the commitment?": r + codebook - beta * commitment,
        "Which sign has the codebook term?": r - codebook + beta * commitment,
        "Is the reconstruction a mean over pixels there, the others sums?": r / 784 + codebook + beta * commitment,
    }
    _refuse_mistakes(value, wanted, {f"{off}. {message}": wrong for message, wrong in mistakes.items()})
    require(close(value, wanted), f"{off}.")


def _require_same_gradients(term, right, name, model):
    """Refuse a term with the right value from which part of the model does not learn the same."""
    what = f"its entry {name!r} has the right value, but"
    require(term.requires_grad, f"{what} is cut off from the model: is there a detach, an item() or a no_grad?")
    names, parameters = zip(*model.named_parameters())
    yours, wanted = (torch.autograd.grad(y, parameters, retain_graph=True, allow_unused=True) for y in (term, right))
    yours, wanted = (
        [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gs)] for gs in (yours, wanted)
    )
    scale = max(b.abs().max() for b in wanted)
    wrong = [name for name, a, b in zip(names, yours, wanted) if (a - b).abs().max() > 1e-3 * scale]
    parts = dict.fromkeys(name.split(".")[0] for name in wrong)  # an ordered set
    from_codes = name == "reconstruction" and "quantizer" in parts
    look = "Was the image decoded from the codes alone?" if from_codes else "Is something detached?"
    require(not parts, f"{what} another gradient in {' and '.join(parts)}. {look}")


def heavy_commitment():
    """A VAE whose KL weighs 20 says next to nothing. What do the codes of a VQ-VAE say whose commitment weighs 20?

    "nothing": all images get nearly the same codes. "less": fewer codes are used, but they still say which image
    it is. "as much": as many codes are used as with a weight of 0.25, within a tenth.
    """
    return "less"


@check(
    "7.6",
    heavy_commitment,
    prediction=True,
    hints=(
        "Is there a term in the loss that falls when fewer codes are told apart?",
        "A commitment is a distance to the nearest code, whichever that is.",
    ),
)
def _heavy_commitment(answer):
    choice = require_choice(answer, "nothing", "less", "as much")
    require(
        choice != "nothing",
        "a KL is paid for every nat that is said. A commitment is paid for the distance to a code, whichever it is.",
    )
    require(
        choice != "as much",
        "a step away from a code now costs 80 times what it did: will an encoder still reach out towards new ones?",
    )
