"""Lesson 1's exercises: wrong answers that are refused, right ones that are accepted."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aecourse import losses, models
from aecourse.models import Autoencoder
from tests.gallery import Gallery, gallery_tests, judge

error, dense, count, loss, predict, sparse = galleries = [Gallery(f"1.{i}") for i in range(1, 7)]


# 1.1 squared_error


@error.wrong("three images give one number")
def mean_over_everything(x_hat, x):
    return F.mse_loss(x_hat, x)


@error.wrong("784 times too small")
def mean_over_pixels(x_hat, x):
    return (x_hat - x).square().flatten(1).mean(1)


@error.wrong("Is the difference squared?")
def absolute_error(x_hat, x):
    return (x_hat - x).abs().flatten(1).sum(1)


@error.wrong("square root too many")
def distance(x_hat, x):
    return (x_hat - x).flatten(1).norm(dim=1)


@error.wrong("square each difference before you sum")
def square_of_sum(x_hat, x):
    return (x_hat - x).flatten(1).sum(1).square()


@error.wrong("is None. Is there a return?")
def forgets_to_return(x_hat, x):
    result = losses.squared_error(x_hat, x)  # noqa: F841


@error.wrong("no gradient comes through")
def detaches(x_hat, x):
    return losses.squared_error(x_hat.detach(), x)


@error.wrong("in place")
def in_place(x_hat, x):
    x_hat -= x
    return x_hat.square().flatten(1).sum(1)


@error.wrong("has the shape (3, 1, 28)")
def sums_one_axis(x_hat, x):
    return (x_hat - x).square().sum(-1)


@error.wrong("has the shape (784,)")
def sums_over_the_batch(x_hat, x):
    return (x_hat - x).square().flatten(1).sum(0)


@error.wrong("for 28×28 grey images only")
def grey_only(x_hat, x):
    return (x_hat - x).square()[:, 0].flatten(1).sum(1)


@error.wrong("cost 0.5, not 0.25")
def twice_as_much(x_hat, x):
    return 2 * losses.squared_error(x_hat, x)


@error.wrong("global random state")
def reseeds(x_hat, x):
    torch.manual_seed(1)
    return losses.squared_error(x_hat, x)


@error.wrong("stopped with an error")
def wrong_shape_inside(x_hat, x):
    return (x_hat - x).view(-1, 100).sum(1)


@error.right
def with_mse_loss(x_hat, x):
    return F.mse_loss(x_hat, x, reduction="none").flatten(1).sum(1)


@error.right
def with_einsum(x_hat, x):
    d = (x_hat - x).reshape(len(x), -1)
    return torch.einsum("bp,bp->b", d, d)


@error.right
def with_norm(x_hat, x):
    return (x_hat - x).flatten(1).norm(dim=1) ** 2


@error.right
def image_by_image(x_hat, x):
    return torch.stack([((a - b) ** 2).sum() for a, b in zip(x_hat, x)])


# 1.2 DenseAutoencoder


@dense.wrong("no code is ever negative")
class ReluOnTheCode(models.DenseAutoencoder):
    def encode(self, x):
        return super().encode(x).relu()


@dense.wrong("between -1 and 1")
class TanhOnTheCode(models.DenseAutoencoder):
    def encode(self, x):
        return super().encode(x).tanh()


@dense.wrong("not from 0 to 1")
class NoSigmoid(models.DenseAutoencoder):
    def decode(self, z):
        return self.decoder3(self.decoder2(self.decoder1(z).relu()).relu()).view(-1, 1, 28, 28)


@dense.wrong("the encoder is linear")
class LinearEncoder(models.DenseAutoencoder):
    def encode(self, x):
        return self.encoder3(self.encoder2(self.encoder1(x.flatten(1))))


@dense.wrong("the decoder is linear")
class LinearDecoder(models.DenseAutoencoder):
    def decode(self, z):
        return self.decoder3(self.decoder2(self.decoder1(z))).sigmoid().view(-1, 1, 28, 28)


@dense.wrong("your code differs")
class OneReluMissingInTheEncoder(models.DenseAutoencoder):
    def encode(self, x):
        return self.encoder3(self.encoder2(self.encoder1(x.flatten(1))).relu())


@dense.wrong("your decoding differs")
class OneReluMissingInTheDecoder(models.DenseAutoencoder):
    def decode(self, z):
        return self.decoder3(self.decoder2(self.decoder1(z).relu())).sigmoid().view(-1, 1, 28, 28)


@dense.wrong("has the shape (3, 784)")
class FlatPictures(models.DenseAutoencoder):
    def decode(self, z):
        return super().decode(z).flatten(1)


@dense.wrong("no gradient reaches encoder1.weight")
class DetachedCode(models.DenseAutoencoder):
    def encode(self, x):
        return super().encode(x).detach()


@dense.wrong("no gradient reaches encoder2.weight")
class SkipsALayer(models.DenseAutoencoder):
    def __init__(self, latent_dim=32):
        super().__init__(latent_dim)
        self.encoder2, self.encoder3 = nn.Linear(256, 128), nn.Linear(256, latent_dim)

    def encode(self, x):
        return self.encoder3(self.encoder1(x.flatten(1)).relu())


@dense.wrong("parameters; 784 → 256 → 128 → 5")
class OneLayerEachWay(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.down1, self.down2 = nn.Linear(784, 256), nn.Linear(256, latent_dim)
        self.up1, self.up2 = nn.Linear(latent_dim, 256), nn.Linear(256, 784)

    def encode(self, x):
        return self.down2(self.down1(x.flatten(1)).relu())

    def decode(self, z):
        return self.up2(self.up1(z).relu()).sigmoid().view(-1, 1, 28, 28)


@dense.wrong("depends on the others in its batch")
class MixesTheBatch(models.DenseAutoencoder):
    def encode(self, x):
        return super().encode(x - x.mean(0, keepdim=True) * (len(x) > 1))


@dense.wrong("stopped with an error")
class ForgetsToFlatten(models.DenseAutoencoder):
    def encode(self, x):
        return self.encoder3(self.encoder2(self.encoder1(x).relu()).relu())


@dense.wrong("the code of three images at latent_dim=5 is None")
class ForgetsToReturn(models.DenseAutoencoder):
    def encode(self, x):
        h = self.encoder1(x.flatten(1)).relu()
        self.encoder3(self.encoder2(h).relu())


@dense.wrong("1.2 to do (decode)")
class HalfDone(models.DenseAutoencoder):
    def decode(self, z):
        """Still to be written."""
        ...


@dense.right
class Sequential(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.encode = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, latent_dim)
        )
        self.decode = nn.Sequential(
            nn.Linear(latent_dim, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid(),
            nn.Unflatten(1, (1, 28, 28)),
        )  # fmt: skip


@dense.right
class InALoop(models.DenseAutoencoder):
    def encode(self, x):
        x = x.reshape(x.size(0), -1)
        for layer in (self.encoder1, self.encoder2):
            x = F.relu(layer(x))
        return self.encoder3(x)

    def decode(self, z):
        for layer in (self.decoder1, self.decoder2):
            z = torch.clamp(layer(z), min=0)
        return torch.sigmoid(self.decoder3(z)).reshape(z.shape[0], 1, 28, 28)


@dense.right
class DecoderDeclaredFirst(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.up = nn.ModuleList([nn.Linear(latent_dim, 128), nn.Linear(128, 256), nn.Linear(256, 784)])
        self.down = nn.ModuleList([nn.Linear(784, 256), nn.Linear(256, 128), nn.Linear(128, latent_dim)])

    def encode(self, x):
        return self.down[2](self.down[1](self.down[0](x.flatten(1)).relu()).relu())

    def decode(self, z):
        return self.up[2](self.up[1](self.up[0](z).relu()).relu()).sigmoid().unflatten(1, (1, 28, 28))


@dense.wrong("are its layers in a plain list?")
class PlainList(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        sizes = [(784, 256), (256, 128), (128, latent_dim), (latent_dim, 128), (128, 256), (256, 784)]
        self.layers = [nn.Linear(a, b) for a, b in sizes]

    def encode(self, x):
        a, b, c = self.layers[:3]
        return c(b(a(x.flatten(1)).relu()).relu())

    def decode(self, z):
        a, b, c = self.layers[3:]
        return c(b(a(z).relu()).relu()).sigmoid().view(-1, 1, 28, 28)


# 1.3 count_parameters


@count.wrong("has 2: those are tensors")
def counts_tensors(model):
    return len(list(model.parameters()))


@count.wrong("that is the weights alone")
def weights_alone(model):
    return sum(p.numel() for name, p in model.named_parameters() if name.endswith("weight"))


@count.wrong("can change 2 numbers, you count 8")
def counts_frozen(model):
    return sum(p.numel() for p in model.parameters())


@count.wrong("running means are not learned")
def counts_buffers(model):
    return sum(value.numel() for value in model.state_dict().values())


@count.wrong("it returns a Tensor")
def returns_a_tensor(model):
    return sum(torch.tensor(p.numel()) for p in model.parameters())


@count.wrong("layers inside layers")
def top_level_only(model):
    return sum(p.numel() for p in model.parameters(recurse=False))


@count.wrong("you count 476720")
def by_heart(model):
    return 476_720


@count.wrong("you count 5")
def adds_the_sides(model):
    return sum(sum(p.shape) for p in model.parameters()) - 2


@count.wrong("it returns None")
def prints(model):
    print(sum(p.numel() for p in model.parameters() if p.requires_grad))


@count.wrong("5×5 convolution from 2 to 3 channels has 153")
def two_axes_only(model):
    return sum(p.shape[0] * (p.shape[1] if p.ndim > 1 else 1) for p in model.parameters() if p.requires_grad)


@count.wrong("in no layer")
def layers_only(model):
    leaves = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.BatchNorm1d))]
    return sum(p.numel() for m in leaves for p in m.parameters() if p.requires_grad)


@count.right
def with_numpy(model):
    return sum(np.prod(p.shape) for p in model.parameters() if p.requires_grad)


@count.right
def in_a_loop(model):
    total = 0
    for p in model.parameters():
        if p.requires_grad:
            total += p.shape.numel()
    return total


@count.right
def as_one_vector(model):
    return len(nn.utils.parameters_to_vector(p for p in model.parameters() if p.requires_grad))


# 1.4 reconstruction_loss


@loss.wrong("makes no error, and yet its loss is")
def the_bug_itself(model, x):
    x_hat = model(x)
    target = x[:, 0]
    return (x_hat - target).square().sum() / len(x)


@loss.wrong("the bug is still there: a model that returns three")
def the_bug_averaged_over_pairs(model, x):
    return (model(x) - x[:, 0]).square().sum() / len(x) ** 2


@loss.wrong("too bright by 1")
def ink_only(model, x):
    return ((model(x) - x).square() * (x > 0)).sum() / len(x)


@loss.wrong("it trains the model")
def calls_backward(model, x):
    loss = (model(x) - x).square().sum() / len(x)
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    return loss


@loss.wrong("784 times too small")
def averages_over_pixels(model, x):
    return (model(x) - x).square().mean()


@loss.wrong("divide by the batch")
def sums_the_batch(model, x):
    return (model(x) - x).square().sum()


@loss.wrong("cut off from the weights")
def detached(model, x):
    return (model(x).detach() - x).square().sum() / len(x)


@loss.wrong("half the right brightness")
def absolute(model, x):
    return ((model(x) - x) * x).abs().sum() / len(x)


@loss.wrong("the loss of a batch of one has the shape (1,)")
def keeps_the_batch(model, x):
    return (model(x) - x).square().flatten(1).sum(1)


@loss.wrong("a black reconstruction of three images costs")
def target_with_itself(model, x):
    x_hat = model(x)
    return (x_hat - x_hat).square().sum() / len(x)


@loss.right
def without_a_target(model, x):
    return losses.squared_error(model(x), x).mean()


@loss.right
def by_the_models_own_loss(model, x):
    return losses.squared_error(model.decode(model.encode(x)) if hasattr(model, "encode") else model(x), x).mean()


@loss.right
def both_without_channel(model, x):
    x_hat = model(x)[:, 0]
    target = x[:, 0]
    return (x_hat - target).square().sum() / len(x)


@loss.right
def mean_times_pixels(model, x):
    return F.mse_loss(model(x), x) * x[0].numel()


# 1.5 prediction


@predict.wrong("it is only 25 pixels")
def gap():
    return "gap"


@predict.wrong("the two differ by far more than a tenth")
def same():
    return "same"


@predict.wrong('"both" is none of')
def both():
    return "both"


@predict.wrong("you answer 1;")
def a_number():
    return 1


@predict.wrong("you answer True;")
def a_truth():
    return True


@predict.wrong("you answer ['shift'];")
def a_list():
    return ["shift"]


@predict.right
def capital():
    return "Shift"


@predict.right
def by_reasoning():
    edge_pixels, gap_pixels = 60, 25
    return "shift" if edge_pixels > gap_pixels else "gap"


# 1.6 SparseAutoencoder


class Sparse(models.SparseAutoencoder):
    """The right encode and pieces of a loss, for wrong answers to put together wrongly."""

    def pieces(self, x):
        z = self.encode(x)
        return z, losses.squared_error(self.decode(z), x).mean()

    def terms(self, reconstruction, l1, loss=None):
        loss = reconstruction + self.penalty * l1 if loss is None else loss
        return {"loss": loss, "reconstruction": reconstruction, "l1": l1}


@sparse.wrong("6 times too small at 6 units")
class MeanOverTheCode(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.abs().mean())


@sparse.wrong("3 times too large for three images")
class SumOverTheBatch(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.abs().sum())


@sparse.wrong("a sum of absolute values of the code?")
class SquaresTheCode(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.square().sum(1).mean())


@sparse.wrong("where Σ|z| per image is")
class PenalisesTheWeights(Sparse):
    def loss(self, x):
        _, reconstruction = self.pieces(x)
        return self.terms(reconstruction, self.encoder.weight.abs().sum())


@sparse.wrong("leaves the penalty out")
class NoPenalty(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.abs().sum(1).mean(), reconstruction)


@sparse.wrong("at full weight")
class IgnoresThePrice(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        l1 = z.abs().sum(1).mean()
        return self.terms(reconstruction, l1, reconstruction + l1)


@sparse.wrong("reconstruction + penalty · l1 is")
class RewardsUse(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        l1 = z.abs().sum(1).mean()
        return self.terms(reconstruction, l1, reconstruction - self.penalty * l1)


@sparse.wrong("l1 holds the penalty already")
class PriceInsideL1(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        l1 = self.penalty * z.abs().sum(1).mean()
        return self.terms(reconstruction, l1, reconstruction + l1)


@sparse.wrong("its gradient misses a part")
class DetachedPenalty(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction, z.detach().abs().sum(1).mean())


@sparse.wrong("no gradient reaches decoder.weight")
class DetachedInTheLoss(Sparse):
    def loss(self, x):
        terms = super().loss(x)
        return terms | {
            "loss": self.decoder.weight.sum() * 0 + terms["reconstruction"].detach() + self.penalty * terms["l1"]
        }


@sparse.wrong("the loss is cut off from the weights")
class NumbersInsteadOfTensors(Sparse):
    def loss(self, x):
        return {name: torch.tensor(value.item()) for name, value in super().loss(x).items()}


@sparse.wrong("loss calls backward")
class CallsBackward(Sparse):
    def loss(self, x):
        terms = super().loss(x)
        terms["loss"].backward(retain_graph=True)
        return terms


@sparse.wrong('the entry "penalty" is a float')
class ExtraFloat(Sparse):
    def loss(self, x):
        return super().loss(x) | {"penalty": self.penalty}


@sparse.wrong("one linear layer and one ReLU")
class ClampedCode(Sparse):
    def encode(self, x):
        return super().encode(x).clamp(0, 20)


@sparse.wrong("keep the two layers that __init__ makes")
class OtherNames(Autoencoder):
    def __init__(self, latent_dim=256, penalty=0.1):
        super().__init__()
        self.down, self.up = nn.Linear(784, latent_dim), nn.Linear(latent_dim, 784)

    def encode(self, x):
        return self.down(x.flatten(1)).relu()


@sparse.wrong("some numbers of the code are negative")
class NoRelu(Sparse):
    def encode(self, x):
        return self.encoder(x.flatten(1))


@sparse.wrong("exactly 0, as a ReLU would make it")
class Softplus(Sparse):
    def encode(self, x):
        return F.softplus(self.encoder(x.flatten(1))) + 1e-3


@sparse.wrong("loss returns a Tensor")
class ReturnsTheLossAlone(Sparse):
    def loss(self, x):
        return super().loss(x)["loss"]


@sparse.wrong('no entry "l1"')
class ForgetsAnEntry(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return {"loss": reconstruction + self.penalty * z.abs().sum(1).mean(), "reconstruction": reconstruction}


@sparse.wrong("where the squared error per image is")
class AveragesOverPixels(Sparse):
    def loss(self, x):
        z, reconstruction = self.pieces(x)
        return self.terms(reconstruction / 784, z.abs().sum(1).mean())


@sparse.wrong("no gradient reaches encoder.weight")
class DetachedEverywhere(Sparse):
    def encode(self, x):
        return super().encode(x).detach()


@sparse.right
class InOtherWords(models.SparseAutoencoder):
    def encode(self, x):
        return torch.clamp(self.encoder(x.view(-1, 784)), min=0)

    def loss(self, x):
        z = self.encode(x)
        l1 = z.norm(p=1, dim=1).mean()
        reconstruction = F.mse_loss(self.decode(z), x, reduction="sum") / len(x)
        return {"reconstruction": reconstruction, "l1": l1, "loss": self.penalty * l1 + reconstruction}


@sparse.right
class ReportsDetached(Sparse):
    def loss(self, x):
        terms = super().loss(x)
        return {name: value if name == "loss" else value.detach() for name, value in terms.items()}


@sparse.right
class WithoutAbs(models.SparseAutoencoder):
    def loss(self, x):
        z = self.encode(x)  # never negative, so |z| = z
        terms = Autoencoder.loss(self, x)
        l1 = z.sum() / len(z)
        return terms | {"l1": l1, "loss": terms["loss"] + self.penalty * l1}


test_wrong, test_right, test_galleries = gallery_tests(galleries)


class DecoderFirstAndNoSecondRelu(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.up = nn.ModuleList([nn.Linear(latent_dim, 128), nn.Linear(128, 256), nn.Linear(256, 784)])
        self.down = nn.ModuleList([nn.Linear(784, 256), nn.Linear(256, 128), nn.Linear(128, latent_dim)])

    def encode(self, x):
        return 2 * self.down[2](self.down[1](self.down[0](x.flatten(1)).relu()))

    def decode(self, z):
        return self.up[2](self.up[1](self.up[0](z).relu()).relu()).sigmoid().unflatten(1, (1, 28, 28))


def test_layers_are_compared_whatever_their_order():
    kept, card = judge("1.2", DecoderFirstAndNoSecondRelu)
    assert kept is models.DenseAutoencoder and "your code differs from" in card
