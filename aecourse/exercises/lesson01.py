"""Exercises of lesson 1."""

from numbers import Integral, Real

import torch
from torch import nn
from torch.nn import functional as F

from aecourse import losses, models
from aecourse.exercises.checks import (
    Exercise,
    call,
    close,
    computed,
    prediction,
    require,
    require_entries,
    require_number,
    require_same,
    require_same_gradients,
    require_tensor,
)
from aecourse.training import default_device

# 1.1 squared_error

squared_error = Exercise(
    "1.1",
    losses.squared_error,
    hints=(
        "x_hat - x has one value per pixel. Square it, then reduce every axis but the first.",
        "flatten(start_dim=1) makes (batch, pixels) of a batch of any shape.",
        "The result for a batch of three images is a tensor of three values: sum over axis 1.",
    ),
)


@squared_error.check
def _(answer):
    for shape in ((3, 1, 28, 28), (2, 3, 8, 6), (1, 1, 28, 28), (4, 5)):
        x, x_hat = torch.rand(shape), 2 * torch.rand(shape) - 0.5  # a linear decoder leaves [0, 1]
        x, x_hat = (computed(images.to(default_device())) for images in (x, x_hat))
        result = call(answer, x_hat, x)
        what = f"for two batches of the shape {shape}, what it returns"
        require_tensor(result, shape[:1], what, device=x.device)
        right = losses.squared_error(x_hat, x)
        require_same(result, right, what)
        require_same_gradients(result, right, {"x_hat": x_hat, "x": x}, what)


@squared_error.mistake("that is one number for all images. Keep the batch axis: one error for each image.")
def mean_over_everything(x_hat, x):
    return F.mse_loss(x_hat, x)


@squared_error.mistake("the errors of all images are summed up. Keep the batch axis: one error for each image.")
def sum_over_everything(x_hat, x):
    return (x_hat - x).square().sum()


@squared_error.mistake("it averages over the pixels; sum over them.")
def mean_over_pixels(x_hat, x):
    return (x_hat - x).square().flatten(1).mean(1)


@squared_error.mistake("the differences are not squared.")
def absolute_error(x_hat, x):
    return (x_hat - x).abs().flatten(1).sum(1)


@squared_error.mistake("a root is taken of the sum: that is the distance, not its square.")
def distance(x_hat, x):
    return (x_hat - x).flatten(1).norm(dim=1)


@squared_error.mistake("it squares the sum; square each difference before you sum.")
def square_of_sum(x_hat, x):
    return (x_hat - x).flatten(1).sum(1).square()


@squared_error.mistake("it sums over the batch; sum over the pixels of each image.")
def sum_over_the_batch(x_hat, x):
    return (x_hat - x).square().flatten(1).sum(0)


@squared_error.mistake("it uses the first channel only; images with several channels come out wrong.")
def grey_only(x_hat, x):
    return (x_hat - x).square()[:, 0].flatten(1).sum(1)


@squared_error.mistake("it works for inputs with four axes only; (batch, ...) may have any number of axes.")
def four_axes_only(x_hat, x):
    return (x_hat - x).square().sum(dim=(1, 2, 3))


@squared_error.mistake("it is right, but the reconstruction is detached: a model could not learn from it.")
def detaches(x_hat, x):
    return losses.squared_error(x_hat.detach(), x)


@squared_error.mistake("x_hat -= x writes into the reconstruction itself. x_hat - x makes a new tensor.")
def writes_into_x_hat(x_hat, x):
    x_hat -= x
    return x_hat.square().flatten(1).sum(1)


# 1.2 DenseAutoencoder

dense = Exercise(
    "1.2",
    models.DenseAutoencoder,
    hints=(
        "nn.Sequential applies its layers in order. nn.Linear takes vectors, so the encoder begins with nn.Flatten().",
        "A ReLU follows the first and the second linear layer of the encoder, and of the decoder. The latent code "
        "itself passes no activation.",
        "The decoder's last linear layer returns 784 unbounded values: nn.Sigmoid() maps them to [0, 1], "
        "nn.Unflatten(1, (1, 28, 28)) reshapes them to images.",
    ),
)


@dense.check
def _(answer):
    model, right = (kind(latent_dim=5).to(default_device()) for kind in (answer, models.DenseAutoencoder))
    require(
        len(list(model.parameters())),
        "the model has no parameters: are its layers assigned to self, and in no plain list?",
    )
    layers = {(m.in_features, m.out_features): m for m in model.modules() if isinstance(m, nn.Linear)}
    wanted = {(m.in_features, m.out_features): m for m in right.modules() if isinstance(m, nn.Linear)}
    listed = ", ".join(f"{a} → {b}" for a, b in layers)
    require(layers.keys() == wanted.keys(), f"for latent_dim=5 its linear layers are {listed or 'none'}.")
    yours, ours = models.count_parameters(model), models.count_parameters(right)
    require(yours == ours, f"it has {yours:,} parameters; 784 → 256 → 128 → 5 and back has {ours:,}.")
    for size, layer in wanted.items():
        with torch.no_grad():  # so large that latent codes leave [-1, 1] and pixels come close to 0 and 1
            for parameter in layer.parameters():
                parameter.normal_(std=0.2)
        layers[size].load_state_dict(layer.state_dict())
    for n in (3, 1):
        x, device = torch.rand(n, 1, 28, 28, device=default_device()), default_device()
        z = call(model.encode, x)
        require_tensor(z, (n, 5), f"the latent code of a batch of {n}, at latent_dim=5,", device=device)
        require_same(z, right.encode(x), f"with the same weights, the latent code of a batch of {n}")
        z = torch.randn(n, 5, device=device)
        x_hat = call(model.decode, z)
        require_tensor(x_hat, (n, 1, 28, 28), f"what decode returns for {n} latent codes", device=device)
        require_same(x_hat, right.decode(z), f"with the same weights, what decode returns for {n} latent codes")
    x = torch.rand(3, 1, 28, 28, device=device)
    pairs = [[layers[size].weight for size in wanted], [layer.weight for layer in wanted.values()]]
    yours, ours = (dict(zip((f"the layer {a} → {b}" for a, b in wanted), weights)) for weights in pairs)
    loss = require_entries(call(model.loss, x), ["loss"], "what loss, which was given, returns")["loss"]
    require_same_gradients(loss, right.loss(x)["loss"], yours, "the loss", ours)


def changed(part, change):
    """The solution with one part changed: change takes the list of its layers and returns another."""

    class Changed(models.DenseAutoencoder):
        def __init__(self, latent_dim=32):
            super().__init__(latent_dim)
            setattr(self, part, nn.Sequential(*change(list(getattr(self, part)))))

    return Changed


def without(kind, which=slice(None)):
    """Leave out layers of a kind: all of them, or the one at this index among them."""

    def change(layers):
        found = [layer for layer in layers if isinstance(layer, kind)][which]
        return [layer for layer in layers if not any(layer is one for one in found)]

    return change


dense.add_mistakes(
    lambda change: changed(*change),
    ReluOnTheCode=(
        "the latent code passes a ReLU, so no dimension is ever negative. Nothing follows the encoder's last layer.",
        ("encoder", lambda layers: [*layers, nn.ReLU()]),
    ),
    NoSigmoid=(
        "pixels are not confined to [0, 1]: what comes after the last linear layer of the decoder?",
        ("decoder", without(nn.Sigmoid)),
    ),
    LinearEncoder=(
        "the encoder has no activation: without a ReLU between them, three linear layers do no more than one.",
        ("encoder", without(nn.ReLU)),
    ),
    LinearDecoder=(
        "before its sigmoid the decoder has no activation: without ReLUs, three linear layers do no more than one.",
        ("decoder", without(nn.ReLU)),
    ),
    NoFirstRelu=(
        "in the encoder the ReLU after the first layer is missing.",
        ("encoder", without(nn.ReLU, slice(0, 1))),
    ),
    NoSecondRelu=(
        "in the encoder the ReLU after the second layer is missing.",
        ("encoder", without(nn.ReLU, slice(1, 2))),
    ),
    NoSecondReluInTheDecoder=(
        "in the decoder the ReLU after the second layer is missing.",
        ("decoder", without(nn.ReLU, slice(1, 2))),
    ),
    FlatImages=(
        "the decoder returns rows of 784 pixels: nn.Unflatten(1, (1, 28, 28)) reshapes them to images.",
        ("decoder", without(nn.Unflatten)),
    ),
    ForgetsToFlatten=(
        "nn.Linear takes vectors; an image of 28×28 has to be flattened first.",
        ("encoder", without(nn.Flatten)),
    ),
)


@dense.mistake("the layers are assigned before super().__init__(), or without it. It has to come first.")
class ForgetsSuper(models.Autoencoder):
    def __init__(self, latent_dim=32):
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, latent_dim))


@dense.mistake("the latent code is right, but detached: the encoder could not learn.")
class DetachedCode(models.DenseAutoencoder):
    def encode(self, x):
        return super().encode(x).detach()


@dense.mistake("the latent code of an image depends on the others in its batch.")
class MixesTheBatch(models.DenseAutoencoder):
    def encode(self, x):
        return super().encode(x - x.mean(0, keepdim=True) * (len(x) > 1))


# 1.3 count_parameters

count = Exercise(
    "1.3",
    models.count_parameters,
    hints=(
        "model.parameters() yields every weight and every bias, as tensors of any shape.",
        "A tensor's numel() is its number of elements; its requires_grad says whether training changes them.",
    ),
)


@count.check
def _(answer):
    half_frozen = nn.Linear(3, 2)
    half_frozen.weight.requires_grad_(False)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    for model, what in (
        (nn.Linear(3, 2), "a layer from 3 to 2"),
        (nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, 1)), "4 → 5 → 1, layers inside layers,"),
        (nn.Conv2d(2, 3, kernel_size=5), "a 5×5 convolution from 2 to 3 channels"),
        (Scaled(1.0), "a module with one parameter of its own and no layers,"),
        (nn.BatchNorm1d(7), "batch norm of 7 channels, which learns a weight and a bias for each,"),
        (half_frozen, "a layer from 3 to 2 whose weights are frozen"),
        (tied, "two layers from 4 to 4 that share their weights"),
        (models.DenseAutoencoder(20), "lesson 1's model with 20 latent dimensions"),
    ):
        kind = Integral if type(model) is nn.Linear else Real  # np.prod of an empty shape is 1.0
        result = call(answer, model)
        require(not torch.is_tensor(result), "it returns a tensor; an int is wanted.")
        result = require_number(result, f"what it returns for {what}", kind)
        require_same(result, models.count_parameters(model), f"for {what} what it returns")


class Scaled(models.Autoencoder):
    """Multiplies its input by a factor: a model whose loss can be worked out by hand."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def encode(self, x):
        """The input times the factor."""
        return self.factor * x

    def decode(self, z):
        """The latent code itself."""
        return z


@count.mistake("it counts tensors. Count their elements.")
def counts_tensors(model):
    return len(list(model.parameters()))


@count.mistake("it counts the weights only. Biases are trained too.")
def weights_alone(model):
    return sum(p.numel() for name, p in model.named_parameters() if name.endswith("weight"))


@count.mistake("it counts frozen parameters, which training does not change.")
def counts_frozen(model):
    return sum(p.numel() for p in model.parameters())


@count.mistake("it counts batch norm's running means and variances: buffers, which no gradient changes.")
def counts_buffers(model):
    return sum(value.numel() for value in model.state_dict().values())


@count.mistake("it counts the module's own parameters, but not those of the modules inside it.")
def top_level_only(model):
    return sum(p.numel() for p in model.parameters(recurse=False))


@count.mistake("it visits known types of layers only; any module may have a parameter.")
def layers_only(model):
    leaves = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.BatchNorm1d))]
    return sum(p.numel() for m in leaves for p in m.parameters() if p.requires_grad)


@count.mistake("it changes requires_grad of the parameters; only read it.")
def unfreezes(model):
    return sum(p.requires_grad_().numel() for p in model.parameters())


# 1.4 reconstruction_loss

loss = Exercise(
    "1.4",
    losses.reconstruction_loss,
    hints=(
        "Print x_hat.shape and target.shape for a batch of three, and the shape of their difference.",
        "When shapes differ, PyTorch broadcasts them: every reconstruction is compared with every image of the batch.",
    ),
)


@loss.check
def _(answer):
    for n in (3, 1):
        x = torch.rand(n, 1, 28, 28) * (torch.rand(n, 1, 28, 28) > 0.5)  # with black pixels, as digits have
        x = (x * torch.linspace(0.3, 1, n).view(n, 1, 1, 1)).to(default_device())
        for factor in (1.0, 0.0, 0.5, -1.0, 3.0):
            model = Scaled(factor).to(x.device)
            what = f"for a batch of {n} and a model that multiplies its input by {factor:g}, the loss"
            result, right = call(answer, model, x), losses.reconstruction_loss(model, x)
            require_tensor(result, (), what, device=x.device)
            require_same(result, right, what)
            require_same_gradients(result, right, {"the model's weight": model.factor}, what)
    model = nn.Sequential(models.DenseAutoencoder(3), nn.Dropout(0.5)).to(x.device)
    with torch.no_grad():
        result = call(answer, model.eval(), x)
        require_same(result, losses.reconstruction_loss(model, x), "in evaluation mode, the loss")
    bright = nn.Sequential(nn.Threshold(2.0, 1.0)).to(x.device)
    require_same(call(answer, bright, 0 * x), torch.tensor(784.0), "for black images reconstructed white, the loss")


@loss.given("a model that returns three images unchanged makes no error, but its loss is far from 0.")
def the_bug_itself(model, x):
    x_hat = model(x)
    target = x[:, 0]  # grey images need no channel axis
    return (x_hat - target).square().sum() / len(x)


@loss.mistake("images that are returned unchanged still have a loss above 0: dividing only makes it smaller.")
def the_bug_averaged_over_pairs(model, x):
    return (model(x) - x[:, 0]).square().sum() / len(x) ** 2


@loss.mistake("black pixels with a bright reconstruction add nothing to the loss.")
def ink_only(model, x):
    return ((model(x) - x).square() * (x > 0)).sum() / len(x)


@loss.mistake("it calls backward; that belongs in the training loop.")
def calls_backward(model, x):
    loss = (model(x) - x).square().sum() / len(x)
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    return loss


@loss.mistake("it averages over the pixels as well: sum over them, and average over the images.")
def averages_over_pixels(model, x):
    return (model(x) - x).square().mean()


@loss.mistake("it sums over the batch: twice as many images have twice the loss. Divide by the batch size.")
def sums_the_batch(model, x):
    return (model(x) - x).square().sum()


@loss.mistake("the reconstruction is detached: no gradient reaches the model.")
def detached(model, x):
    return (model(x).detach() - x).square().sum() / len(x)


@loss.mistake("it is a loss for each image; average over the batch.")
def keeps_the_batch(model, x):
    return (model(x) - x).square().flatten(1).sum(1)


# 1.5 which has the larger error?

prediction(
    "1.5",
    answer="shift",
    replies={
        "gap": "the gap is easy to see, but it is only 25 pixels. Run on and compare the two errors.",
        "same": "the two differ by far more than a tenth. Run on and compare the two errors.",
    },
    hints=(
        "Every pixel at an edge of a stroke changes when the digit moves. How many are there, compared with 25?",
        "A stroke is two or three pixels wide. After one step to the right, how much of it still overlaps itself?",
    ),
)

# 1.6 SparseAutoencoder

sparse = Exercise(
    "1.6",
    models.SparseAutoencoder,
    hints=(
        "encode applies the encoder, one linear layer, and a ReLU after it.",
        "In loss, call encode once and keep z: the penalty needs it, and decode(z) is the reconstruction.",
        "Σ|z| of an image is a sum over axis 1; average it over the batch as squared_error is averaged.",
    ),
)


@sparse.check
def _(answer):
    for n, latent_dim, penalty in ((3, 6, 0.25), (1, 7, 1.5)):
        model, right = (
            kind(latent_dim=latent_dim, penalty=penalty).to(default_device())
            for kind in (answer, models.SparseAutoencoder)
        )
        shapes, wanted = ({name: tuple(p.shape) for name, p in m.named_parameters()} for m in (model, right))
        require(
            shapes == wanted,
            "keep the two layers that __init__ makes, encoder and decoder: the lesson looks at their weights.",
        )
        with torch.no_grad():  # on any image some units are active and some are not
            for parameter in right.parameters():
                parameter.normal_(std=0.1)
            right.encoder[1].bias.copy_(torch.tensor([30.0, 3, 1, -5, -3, -1, 2])[:latent_dim])
        model.load_state_dict(right.state_dict())
        x = torch.rand(n, 1, 28, 28, device=default_device())
        x = x * torch.linspace(0.4, 1, n, device=x.device).view(n, 1, 1, 1)
        z = call(model.encode, x)
        require_tensor(z, (n, latent_dim), f"the latent code of a batch of {n}", device=x.device)
        require_same(z, right.encode(x), f"with the same weights, the latent code of a batch of {n}")
        require(close(model.decode(z), right.decode(z)), "decode, which was given, returns something else now.")
        model.train(n > 1)  # the validation loss is computed in evaluation mode
        terms = require_entries(call(model.loss, x), ("loss", "reconstruction", "l1"), "what loss returns")
        correct = right.loss(x)
        for name in ("l1", "reconstruction", "loss"):
            require_same(terms[name], correct[name], f"with a penalty of {penalty} and {n} images, {name}")
        parameters, ours = dict(model.named_parameters()), dict(right.named_parameters())
        require_same_gradients(terms["loss"], correct["loss"], parameters, "the loss", ours)


class GivenSparse(models.SparseAutoencoder):
    """The right pieces of a loss, for mistakes to put together wrongly."""

    def pieces(self, x):
        z = self.encode(x)
        return z, losses.squared_error(self.decode(z), x).mean()

    def terms(self, reconstruction, l1, loss=None):
        loss = reconstruction + self.penalty * l1 if loss is None else loss
        return {"loss": loss, "reconstruction": reconstruction, "l1": l1}


@sparse.mistake("l1 is a mean over the latent dimensions; sum over them, and average over the images.")
class MeanOverTheCode(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.abs().mean())


@sparse.mistake("l1 sums over the images of a batch; average over them.")
class SumOverTheBatch(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.abs().sum())


@sparse.mistake("l1 sums the squares of the latent code, not its absolute values.")
class SquaresTheCode(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.square().sum(1).mean())


@sparse.mistake("the loss leaves the penalty out.")
class NoPenalty(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.abs().sum(1).mean(), reconstruction)


@sparse.mistake("the loss adds l1 at full weight, whatever the penalty.")
class IgnoresThePenalty(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        l1 = z.abs().sum(1).mean()
        return self.terms(reconstruction, l1, reconstruction + l1)


@sparse.mistake("the loss subtracts the penalty: active units are rewarded.")
class RewardsUse(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        l1 = z.abs().sum(1).mean()
        return self.terms(reconstruction, l1, reconstruction - self.penalty * l1)


@sparse.mistake("l1 already contains the factor penalty. Report Σ|z| itself; the factor belongs in the loss.")
class PenaltyInsideL1(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        l1 = self.penalty * z.abs().sum(1).mean()
        return self.terms(reconstruction, l1, reconstruction + l1)


@sparse.mistake("the loss has the right value, but its penalty is detached: it gives the encoder no gradient.")
class DetachedPenalty(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.detach().abs().sum(1).mean())


@sparse.mistake("the loss has the right value, but its reconstruction is detached: nothing learns to reconstruct.")
class DetachedReconstruction(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction.detach(), z.abs().sum(1).mean())


@sparse.mistake("the latent code can be negative: a ReLU has to follow the linear layer.")
class NoRelu(GivenSparse):
    def encode(self, x):
        return self.encoder(x)


@sparse.mistake("no latent dimension is ever exactly 0, as it would be after a ReLU.")
class Softplus(GivenSparse):
    def encode(self, x):
        return F.softplus(self.encoder(x))


@sparse.mistake("the reconstruction is a mean over pixels; sum over them, and average over the images.")
class AveragesOverPixels(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction / 784, z.abs().sum(1).mean())


@sparse.mistake("loss calls backward; that belongs in the training loop.")
class CallsBackward(GivenSparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        terms = self.terms(reconstruction, z.abs().sum(1).mean())
        terms["loss"].backward(retain_graph=True)
        return terms
