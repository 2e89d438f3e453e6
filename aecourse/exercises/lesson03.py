"""Exercises of lesson 3."""

import copy
import math
from numbers import Integral

import torch
from torch import nn
from torch.nn import functional as F

from aecourse import metrics, models
from aecourse.data import to_float
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
from aecourse.losses import squared_error
from aecourse.training import default_device


def require_whole_numbers(answer, solution, cases):
    """Compare an answer with the solution. cases: dictionaries of inputs; the first of each is passed by position."""
    given, numbers = copy.deepcopy(cases), []
    for first, *named in (case.items() for case in given):
        what = "for " + ", ".join(f"{name} {value}" for name, value in (first, *named)) + " what it returns"
        result = call(answer, first[1], **dict(named), sampled=True)  # it may make a layer, which samples its weights
        numbers.append((require_number(result, what, Integral), what))
    observe([int(number) for number, _ in numbers])
    require(given == cases, "it changes its input list in place.")
    for (number, what), case in zip(numbers, cases):
        require_same(number, solution(**case), what)


def sizes(*cases):
    """Inputs of 3.1 and 3.2 as dictionaries."""
    return [dict(zip(("size", "kernel", "stride", "padding", "output_padding"), case)) for case in cases]


def of_size(formula):
    """An answer to 3.1 or 3.2 from a formula for size n, kernel k, stride s, padding p, output_padding o."""
    return lambda size, kernel, stride=1, padding=0, output_padding=0: formula(
        size, kernel, stride, padding, output_padding
    )


# 3.1 conv_output_size

down = Exercise(
    "3.1",
    models.conv_output_size,
    hints=(
        "Pad the row on both sides. At how many positions does the whole kernel still fit?",
        "The first position is 0, the last is size + 2·padding − kernel. Every stride-th of them gives a pixel.",
        "If the last step does not fit, it is left out: the division rounds down (// in Python).",
    ),
)


@down.check
def _(answer):
    simple = (5, 3), (5, 1), (9, 3, 3), (10, 3, 3), (28, 3, 1, 1), (28, 3, 2, 1), (28, 4, 2, 1), (27, 3, 2, 1)
    others = [(size, 5, 3, 2) for size in range(6, 33)] + [(40, 7, 4, 3), (13, 6, 4, 1), (12, 5, 2, 0), (300, 11, 5)]
    require_whole_numbers(answer, models.conv_output_size, sizes(*simple, *others))


down.add_mistakes(
    of_size,
    counts_steps=(
        "it counts steps; the first position of the kernel is a pixel, too.",
        lambda n, k, s, p, o: (n + 2 * p - k) // s,
    ),
    kernel_over_the_edge=(
        "the kernel extends beyond the edge; the whole kernel has to fit.",
        lambda n, k, s, p, o: (n + 2 * p) // s + 1,
    ),
    size_by_stride=("kernel and padding change the size as well.", lambda n, k, s, p, o: n // s),
    one_kernel_size=("it is right for one kernel size only.", lambda n, k, s, p, o: (n + 2 * p - 3) // s + 1),
    pads_one_side=("padding is counted on one side; it is added on both.", lambda n, k, s, p, o: (n + p - k) // s + 1),
    no_padding=("padding is left out.", lambda n, k, s, p, o: (n - k) // s + 1),
    no_stride=("the stride is left out: not every position is visited.", lambda n, k, s, p, o: n + 2 * p - k + 1),
    one_before_division=(
        "with a stride above 1 the first position is lost.",
        lambda n, k, s, p, o: (n + 2 * p - k + 1) // s,
    ),
    rounds_up=("a last step that does not fit is counted.", lambda n, k, s, p, o: math.ceil((n + 2 * p - k) / s) + 1),
    padding_after_division=(
        "padding is added after the division by the stride.",
        lambda n, k, s, p, o: (n - k) // s + 2 * p + 1,
    ),
    never_rounds=(
        "a size is a whole number. What happens to a last step that does not fit?",
        lambda n, k, s, p, o: (n + 2 * p - k) / s + 1,
    ),
)

# 3.2 transposed_output_size

up = Exercise(
    "3.2",
    models.transposed_output_size,
    hints=(
        "Each input pixel adds one copy of the kernel to the output; the next copy lies stride pixels further on.",
        "The last of size copies begins at (size − 1)·stride and ends kernel pixels later.",
        "Here padding cuts off pixels, on both sides; output_padding adds some, on one side.",
    ),
)


@up.check
def _(answer):
    simple = (1, 3, 2), (4, 3), (4, 3, 2), (4, 3, 2, 1), (7, 3, 2, 1, 1), (14, 3, 2, 1, 1)
    others = (9, 6, 4, 2, 3), (5, 3, 2, 2), (11, 2, 2), (8, 7, 3, 2), (90, 11, 5)
    cases = sizes(*simple, *((size, 5, 3, 1, 2) for size in range(2, 20)), *others)
    require_whole_numbers(answer, models.transposed_output_size, cases)


up.add_mistakes(
    of_size,
    size_of_a_convolution=(
        "that is a convolution's size; this layer makes images larger.",
        lambda n, k, s, p, o: (n + 2 * p - k) // s + 1 + o,
    ),
    one_step_too_many=(
        "there is one step fewer than there are copies of the kernel.",
        lambda n, k, s, p, o: n * s + k - 2 * p + o,
    ),
    no_kernel=(
        "the kernel size is left out: even one input pixel gives a whole kernel.",
        lambda n, k, s, p, o: (n - 1) * s - 2 * p + o + 1,
    ),
    size_times_stride=("size times stride is right for some kernels and paddings only.", lambda n, k, s, p, o: n * s),
    copies_side_by_side=("copies of the kernel never overlap; they may.", lambda n, k, s, p, o: n * k - 2 * p + o),
    no_stride=("the stride is left out.", lambda n, k, s, p, o: n - 1 + k - 2 * p + o),
    cuts_one_side=(
        "padding is cut off on one side; it is cut off on both.",
        lambda n, k, s, p, o: (n - 1) * s + k - p + o,
    ),
    padding_added=(
        "padding makes the output larger; here it cuts pixels off.",
        lambda n, k, s, p, o: (n - 1) * s + k + 2 * p + o,
    ),
    no_padding=("padding is left out.", lambda n, k, s, p, o: (n - 1) * s + k + o),
    output_padding_twice=(
        "output_padding is added on one side only, not on both.",
        lambda n, k, s, p, o: (n - 1) * s + k - 2 * p + 2 * o,
    ),
    no_output_padding=("output_padding is left out.", lambda n, k, s, p, o: (n - 1) * s + k - 2 * p),
)

# 3.3 receptive_field

field = Exercise(
    "3.3",
    models.receptive_field,
    hints=(
        "One layer of kernel k sees k pixels. A second of kernel 3 adds two of its pixels. How far apart are they?",
        "Two neighbours of a feature map lie as far apart in the image as all strides before it multiply to.",
        "Go through the layers with two numbers: the receptive field so far, and the step between neighbours.",
    ),
)


@field.check
def _(answer):  # a kernel smaller than its stride, which skips pixels, in the last layer only
    lists = [[(5, 1)], [(5, 2)], [(3, 1)] * 2, [(3, 1), (3, 2)], [(3, 2), (3, 1)], [(3, 2)] * 3, [(4, 2)] * 2]
    lists += [[(7, 2), (3, 3), (1, 1), (5, 1)], [(3, 1), (2, 1), (6, 2), (3, 1), (3, 3), (2, 4)], [(11, 4), (5, 1)]]
    require_whole_numbers(answer, models.receptive_field, [{"layers": layers} for layers in lists])


f = models.receptive_field


def step_of(layers, combine):
    """The receptive field if combine computes the step between neighbours from the list of strides so far."""
    strides = [1, *(stride for _, stride in layers)]
    return 1 + sum((kernel - 1) * combine(strides[: i + 1]) for i, (kernel, _) in enumerate(layers))


field.add_mistakes(
    starts_at_zero=("the receptive field begins with one pixel, not with none.", lambda layers: f(layers) - 1),
    half_the_kernel=(
        "it counts one side of the kernel; the kernel extends to both.",
        lambda layers: f([((k + 1) // 2, s) for k, s in layers]),
    ),
    same_for_all=("it is the same number for all layers.", lambda layers: 15),
    own_stride_counts=(
        "a layer's own stride enlarges its receptive field; only the strides before it do.",
        lambda layers: f([half for k, s in layers for half in ((1, s), (k, 1))]),
    ),
    whole_kernels_added=(
        "each layer adds its whole kernel; one pixel of it is already counted.",
        lambda layers: f([(k + 1, s) for k, s in layers]) - 1,
    ),
    product_of_kernels=(
        "the kernels are multiplied; each layer adds pixels at the edge.",
        lambda layers: math.prod(k for k, _ in layers),
    ),
    sum_of_strides=(
        "the strides are summed. How far apart are neighbours after two of them?",
        lambda layers: step_of(layers, sum),
    ),
    last_layer_first=("the list begins at the input; it is read from the other end.", lambda layers: f(layers[::-1])),
    no_strides=("the strides are left out.", lambda layers: step_of(layers, lambda strides: 1)),
    last_stride_only=(
        "only the last stride before a layer counts; all of them should.",
        lambda layers: step_of(layers, lambda strides: strides[-1]),
    ),
    even_kernels_odd=("an even kernel comes out one too large.", lambda layers: f([(k | 1, s) for k, s in layers])),
    empties_the_list=(
        "the list of layers is empty afterwards; the caller still needs it.",
        lambda layers: f([layers.pop(0) for _ in list(layers)]),
    ),
)

# 3.4 convolutional_encoder

encoder = Exercise(
    "3.4",
    models.convolutional_encoder,
    hints=(
        "Each step down is nn.Conv2d(…, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU().",
        "The channels go 1 → 32 → 64 → 128, the sides 28 → 14 → 7 → 4.",
        "nn.Flatten() makes vectors of 128·4·4, one nn.Linear turns them into latent codes. Nothing comes after it.",
    ),
)


@encoder.check
def _(answer):
    model = call(answer, 50, sampled=True)
    require(model is not None, "it returns None. Is there a return?")
    require(isinstance(model, nn.Module), f"it returns a {type(model).__name__}; a network (nn.Module) is wanted.")
    x = torch.rand(3, 1, 28, 28) * torch.tensor([1, 0.3, 0.6]).view(3, 1, 1, 1)
    x = x.to(default_device())
    model = model.to(x.device)
    lazy = any(map(nn.parameter.is_lazy, model.parameters()))
    require(not lazy, "its layers have no weights before it has seen an image; the lesson counts them before that.")
    another = {id(p) for p in answer(50).parameters()}
    require(not any(id(p) in another for p in model.parameters()), "two calls return models that share their weights.")
    right = with_same_weights(model)
    for training in (False, True):
        model.train(training), right.train(training)
        for n in (3, 1):
            images = computed(x[:n])
            z, wanted = call(model, images), right(images)
            mode = "training" if training else "evaluation"
            what = f"in {mode} mode, with the same weights, the latent code of a batch of {n}"
            require_tensor(z, (n, 50), what, device=x.device)
            require_same(z, wanted, what, atol=1e-4 * wanted.abs().max().item())
            require_same_gradients(z, wanted, {"the images": images}, what)
            gradients = torch.autograd.grad(z.square().sum(), list(model.parameters()), allow_unused=True)
            require(all(g is not None and g.any() for g in gradients), f"{what}: some parameters get no gradient.")
    require_tensor(answer().to(x.device).eval()(x), (3, 32), "without latent_dim, the latent code of 3 images")


def with_same_weights(model):
    """The course's encoder. Both get the same random weights, matched by shape and initial value, 1 or 0.

    Refuses a model without the weights of three convolutions, three batch norms and a linear layer; biases before
    batch norm may be left out.
    """
    right = models.convolutional_encoder(50).to(default_device())
    parameters = list(model.parameters())
    observe(sorted(list(p.shape) for p in parameters))
    require(parameters, "PyTorch finds no parameters in it: are its layers in a plain list?")
    mine, theirs = (
        sorted((p for p in m.parameters() if p.numel() > max(p.shape, default=1)), key=torch.numel)
        for m in (model, right)
    )
    mine = [p.T if p.shape == (2048, 50) else p for p in mine]
    shapes, wanted = (", ".join("×".join(map(str, p.shape)) for p in weights) for weights in (mine, theirs))
    require(shapes == wanted, f"at latent_dim=50 its weights have the shapes {shapes or 'none'}; {wanted} are wanted.")
    torch.manual_seed(1)
    with torch.no_grad():
        pairs = list(zip(mine, theirs)) + [(p, right[-1].bias) for p in parameters if p.numel() == 50]
        right[-1].bias.zero_()
        for yours, ours in pairs:
            yours.copy_(ours.normal_(std=0.3).view_as(yours))
        for convolution, norm in zip(right[0::3], right[1:9:3]):
            vectors = [p for p in parameters if p.numel() == norm.num_features]
            require(
                len(vectors) in (2, 3),
                f"parameters with one value for each of {norm.num_features} channels: {len(vectors)}. Batch norm has "
                "a scale and a shift, and the convolution may have a bias.",
            )
            norm.weight.normal_(std=2), norm.bias.normal_()
            convolution.bias.copy_(norm.bias * (len(vectors) == 3))
            for p in vectors:
                p.copy_((norm.weight if (p == 1).all() else norm.bias).view_as(p))
            for buffer in model.buffers():
                if buffer.numel() == norm.num_features:
                    ours = norm.running_var.uniform_(0.5, 2) if (buffer == 1).all() else norm.running_mean.normal_()
                    buffer.copy_(ours.view_as(buffer))
    return right


def steps(channels=(1, 32, 64, 128), kernel=3, stride=2, padding=1, order=(0, 1, 2), running=True):
    """Convolution, batch norm and ReLU, in this order or another, for each pair of channel counts."""
    layers = []
    for a, b in zip(channels, channels[1:]):
        norm = nn.BatchNorm2d(b, track_running_stats=running)
        step = nn.Conv2d(a, b, kernel, stride, padding), norm, nn.ReLU()
        layers += [step[i] for i in order]
    return layers


def to_code(layers, latent_dim, features=2048):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, latent_dim))


def followed_by(last):
    return lambda d: nn.Sequential(models.convolutional_encoder(d), last)


def ended_by(last):
    return nn.Sequential(*steps(), last)


encoder.add_mistakes(
    lambda make: lambda latent_dim=32: make(latent_dim),
    two_convolutions=("the third convolution is missing.", lambda d: to_code(steps((1, 32, 64)), d, 64 * 7 * 7)),
    kernels_of_4=("the kernels are 4×4; the table has 3×3.", lambda d: to_code(steps(kernel=4), d, 128 * 3 * 3)),
    channels_fall=(
        "the number of channels falls; it should rise.",
        lambda d: to_code(steps((1, 128, 64, 32)), d, 32 * 4 * 4),
    ),
    channels_swapped=(
        "Conv2d takes the number of input channels first.",
        lambda d: to_code([nn.Conv2d(32, 1, 3), *steps()[1:]], d),
    ),
    no_padding=("without padding the maps become too small.", lambda d: to_code(steps(padding=0), d, 128 * 2 * 2)),
    no_flatten=("the linear layer gets another shape than its own. Which?", lambda d: ended_by(nn.Linear(2048, d))),
    linear_on_rows=("the linear layer works on rows of maps: flatten them first.", lambda d: ended_by(nn.Linear(4, d))),
    averages_maps=(
        "averaging the last feature maps loses the position of each feature.",
        lambda d: to_code([ended_by(nn.AvgPool2d(4))], d, 128),
    ),
    no_linear=("it returns feature maps; a linear layer has to follow.", lambda d: nn.Sequential(*steps())),
    ignores_latent_dim=("latent_dim is ignored.", lambda d: models.convolutional_encoder(32)),
    no_batch_norm=("there is no batch norm in it.", lambda d: to_code(steps(order=(0, 2)), d)),
    no_first_norm=(
        "batch norm is missing after the first convolution.",
        lambda d: to_code(steps()[:1] + steps()[2:], d),
    ),
    relu_first=("ReLU comes before batch norm; it should follow it.", lambda d: to_code(steps(order=(0, 2, 1)), d)),
    no_relu=("there is no ReLU in it.", lambda d: to_code(steps(order=(0, 1)), d)),
    no_last_relu=("the ReLU after the last batch norm is missing.", lambda d: to_code(steps()[:-1], d)),
    relu_on_code=("the latent code is never negative: nothing should follow the linear layer.", followed_by(nn.ReLU())),
    tanh_on_code=("the latent code stays in [-1, 1]: nothing should follow the linear layer.", followed_by(nn.Tanh())),
    pools_maps=(
        "it downsamples by pooling; the strides should be 2.",
        lambda d: to_code(
            [layer for i in (1, 4, 7) for layer in (*steps(stride=1)[i - 1 : i + 2], nn.MaxPool2d(2, ceil_mode=True))],
            d,
        ),
    ),
    no_running_statistics=(
        "in evaluation mode batch norm still uses the statistics of the batch.",
        lambda d: to_code(steps(running=False), d),
    ),
)

# 3.5 reconstruction_error

measure = Exercise(
    "3.5",
    metrics.reconstruction_error,
    hints=(
        "In training mode, batch norm uses the mean and variance of the current batch. Which line sets the mode?",
        "model.eval() before the loop sets all parts of a model. Note first in which mode each of them was.",
        "model.modules() yields the model and all its parts; training of each is True or False, and may be set.",
    ),
)


class ModeDependent(models.Autoencoder):
    """Batch norm and dropout, nested, and a dropout of the model's own. Records its batch sizes."""

    def __init__(self, given=None):
        super().__init__()
        inner = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout(0.3))
        self.layers = nn.Sequential(nn.BatchNorm2d(1), inner, nn.Conv2d(2, 1, 1))
        for norm in (self.layers[0], inner[1]):
            norm.running_mean.fill_(0.2)
            norm.running_var.fill_(0.5)
        if given is not None:
            self.layers[0].register_forward_pre_hook(lambda _, inputs: given.append(len(inputs[0])))

    def encode(self, x):
        return self.layers(F.dropout(x, 0.2, self.training))

    def decode(self, z):
        return z.sigmoid()


@measure.check
def _(answer):
    images = (torch.rand(130, 1, 28, 28) * torch.linspace(40, 255, 130).view(-1, 1, 1, 1)).to(torch.uint8)
    for mode, of_a_part in ((True, True), (False, False), (True, False), (False, True)):
        now, parts = ("training" if training else "evaluation" for training in (mode, of_a_part))
        how = f"for a model in {now} mode" + f", of which a part is in {parts} mode," * (mode != of_a_part)
        given = []
        torch.manual_seed(1)
        model = ModeDependent(given).train(mode)
        model.layers[1].train(of_a_part)
        before = copy.deepcopy(model.state_dict())
        for inputs in ((images[::30], 2), (images[:1], 1), (images,)):
            right = metrics.reconstruction_error(copy.deepcopy(model), *inputs)
            given.clear()
            result = call(answer, model, *inputs, sampled=True)  # a DataLoader samples a random number
            observe(list(model.buffers()))
            what = f"{how} and {len(inputs[0])} images, the error"
            require_same(require_number(result, what), right, what)
            same = all(torch.equal(before[name], value) for name, value in model.state_dict().items())
            require(same, f"{what} is right, but measuring has changed batch norm's running statistics.")
            require(torch.is_grad_enabled(), f"{what} is right, but gradients are switched off for all that follows.")
            most, wanted = max(given, default=0), inputs[1] if len(inputs) > 1 else 100
            require(most <= wanted, f"at a batch_size of {wanted} the model is given {most} images at once.")


@measure.given("the error still depends on which images share a batch, and measuring still changes the model.")
def the_bug_itself(model, images, batch_size=100):
    total = 0.0
    for batch in images.split(batch_size):
        x = to_float(batch)
        total += squared_error(model(x), x).sum().item()
    return total / images.numel()


@measure.mistake("the first batch is right; for the others it still matters which images share a batch.")
def set_back_within_the_loop(model, images, batch_size=100):
    batches = images.split(batch_size)
    first = metrics.reconstruction_error(model, batches[0]) * batches[0].numel()
    return (first + sum(the_bug_itself(model, b) * b.numel() for b in batches[1:])) / images.numel()


@measure.mistake("the error is right, but a model or part that was in training mode ends in evaluation mode.")
def never_set_back(model, images, batch_size=100):
    return the_bug_itself(model.eval(), images, batch_size)


@measure.mistake("the error is right, but a model that was in evaluation mode ends in training mode.")
def always_trains_on(model, images, batch_size=100):
    error = the_bug_itself(model.eval(), images, batch_size)
    model.train()
    return error


@measure.mistake("the error is right, but a part in evaluation mode, such as frozen batch norm, ends in training mode.")
def one_mode_for_all_parts(model, images, batch_size=100):
    training = model.training
    error = the_bug_itself(model.eval(), images, batch_size)
    model.train(training)
    return error


@measure.mistake("the error is right, but from now on nothing records gradients: training would stop with an error.")
def gradients_off_for_good(model, images, batch_size=100):
    torch.set_grad_enabled(False)
    return metrics.reconstruction_error(model, images, batch_size)


@measure.mistake("the last, smaller batch counts as much as the others.")
def averages_the_batches(model, images, batch_size=100):
    errors = [metrics.reconstruction_error(model, batch) for batch in images.split(batch_size)]
    return sum(errors) / len(errors)


def with_modes(is_set, model, images, batch_size):
    """The buggy error of a copy whose parts are in evaluation mode where is_set(part) is true."""
    twin = copy.deepcopy(model)
    for part in twin.modules():
        part.training &= not is_set(part)
    return the_bug_itself(twin, images, batch_size)


error = metrics.reconstruction_error
measure.add_mistakes(
    lambda of: lambda model, images, batch_size=100: of(model, images, batch_size),
    copy_as_it_is=(
        "the model stays as it was, but the error depends on the images that share a batch.",
        lambda m, x, n: with_modes(lambda part: False, m, x, n),
    ),
    own_mode_only=(
        "the model's own mode is right, and yet the error depends on the images that share a batch.",
        lambda m, x, n: with_modes(lambda part: isinstance(part, ModeDependent), m, x, n),
    ),
    batch_norm_only=(
        "it no longer matters which images share a batch, but the error differs from call to call.",
        lambda m, x, n: with_modes(lambda part: isinstance(part, nn.BatchNorm2d), m, x, n),
    ),
    layers_only=(
        "what the model does outside its layers still differs from call to call.",
        lambda m, x, n: with_modes(lambda part: not isinstance(part, ModeDependent), m, x, n),
    ),
    trusts_the_models_mode=(
        "within a model in evaluation mode, a part in training mode still makes the error random.",
        lambda m, x, n: (error if m.training else the_bug_itself)(m, x, n),
    ),
    drops_last_batch=("the last, smaller batch is left out.", lambda m, x, n: error(m, x[: len(x) // n * n], n)),
    error_per_image=(
        "it is an error per image, 784 times as large as that per pixel.",
        lambda m, x, n: error(m, x, n) * 784,
    ),
    sum_of_all=("it is the sum over all pixels of all images.", lambda m, x, n: error(m, x, n) * x.numel()),
    one_per_image=(
        "it is an error for each image; average them.",
        lambda m, x, n: torch.tensor([error(m, i[None]) for i in x]),
    ),
    root_of_error=("a root is taken of the mean squared error.", lambda m, x, n: error(m, x, n) ** 0.5),
    ignores_batch_size=(
        "the error is right, but the batches have another size than asked for.",
        lambda m, x, n: error(m, x),
    ),
)

# 3.6 after_permuting

prediction(
    "3.6",
    answer="behind",
    replies={
        "unchanged": "the pixels are all there, but neighbours are no longer neighbours. Run on and compare.",
        "ahead": "it still has as many parameters; but what can its kernels find now? Run on and compare.",
    },
    hints=(
        "A kernel of 3×3 looks at pixels side by side. What do those have in common after the shuffle?",
        "What can the dense model do about a permutation of its inputs that is the same for all images?",
    ),
)
