"""Lesson 3's exercises: wrong answers that are refused, right ones that are accepted."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from aecourse import metrics, models, training
from aecourse.data import to_float
from aecourse.exercises import lesson03
from aecourse.losses import squared_error
from tests.gallery import Gallery, gallery_tests

down, up, field, encoder, measure, predict = galleries = [Gallery(f"3.{i}") for i in range(1, 7)]


# 3.1 conv_output_size


@down.wrong("fits into 5 pixels at 3 places; you count 2")
def forgets_the_first_place(size, kernel, stride=1, padding=0):
    return (size + 2 * padding - kernel) // stride


@down.wrong("fits into 5 pixels at 3 places; you count 6")
def forgets_the_kernel(size, kernel, stride=1, padding=0):
    return (size + 2 * padding) // stride + 1


@down.wrong("fits into 5 pixels at 3 places; you count 5")
def by_heart(size, kernel, stride=1, padding=0):
    return size // stride


@down.wrong("fits at each of 5 pixels; you count 3")
def kernel_of_three_only(size, kernel, stride=1, padding=0):
    return (size + 2 * padding - 3) // stride + 1


@down.wrong("padding 1 on both sides give 28; you say 27")
def pads_one_side(size, kernel, stride=1, padding=0):
    return (size + padding - kernel) // stride + 1


@down.wrong("padding 1 on both sides give 28; you say 26")
def forgets_the_padding(size, kernel, stride=1, padding=0):
    return (size - kernel) // stride + 1


@down.wrong("moves 3 pixels at a time fits into 9 pixels at 3 places; you count 7")
def forgets_the_stride(size, kernel, stride=1, padding=0):
    return size + 2 * padding - kernel + 1


@down.wrong("moves 3 pixels at a time fits into 9 pixels at 3 places; you count 2")
def adds_one_before_the_stride(size, kernel, stride=1, padding=0):
    return (size + 2 * padding - kernel + 1) // stride


@down.wrong("makes no fourth place. You count 4")
def rounds_up(size, kernel, stride=1, padding=0):
    return math.ceil((size + 2 * padding - kernel) / stride) + 1


@down.wrong("A last, half step is left out")
def rounds_to_the_nearest(size, kernel, stride=1, padding=0):
    return round((size + 2 * padding - kernel) / stride) + 1


@down.wrong("a kernel of 4 with stride 2 fits 14 times, not 15")
def adds_padding_after_the_stride(size, kernel, stride=1, padding=0):
    return (size - kernel) // stride + 2 * padding + 1


@down.wrong("is 3.0; a whole number (int) is wanted")
def float_division(size, kernel, stride=1, padding=0):
    return (size + 2 * padding - kernel) / stride + 1


@down.wrong("is None. Is there a return?")
def prints_the_size(size, kernel, stride=1, padding=0):
    print((size + 2 * padding - kernel) // stride + 1)


@down.wrong("an odd size, too")
def halves_by_heart(size, kernel, stride=1, padding=0):
    return size // 2 if stride == 2 else (size + 2 * padding - kernel) // stride + 1


@down.wrong("at kernel 5, stride 2, padding 2")
def padding_one_at_most(size, kernel, stride=1, padding=0):
    return (size + 2 * bool(padding) - kernel) // stride + 1


@down.wrong("unexpected keyword argument 'stride'")
def other_names(size, kernel, step=1, pad=0):
    return (size + 2 * pad - kernel) // step + 1


@down.right
def with_floor(size, kernel, stride=1, padding=0):
    return math.floor((size + 2 * padding - kernel) / stride + 1)


@down.right
def counts_the_places(size, kernel, stride=1, padding=0):
    return len(range(0, size + 2 * padding - kernel + 1, stride))


@down.right
def looks_at_a_layer(size, kernel, stride=1, padding=0):
    return nn.Conv2d(1, 1, kernel, stride=stride, padding=padding)(torch.zeros(1, 1, size, size)).shape[-1]


@down.right
def slides_in_a_loop(size, kernel, stride=1, padding=0):
    place, places = -padding, 0
    while place + kernel <= size + padding:
        place, places = place + stride, places + 1
    return places


# 3.2 transposed_output_size


@up.wrong("stamps one kernel of 3 pixels; you say 0")
def convolution_again(size, kernel, stride=1, padding=0, output_padding=0):
    return (size + 2 * padding - kernel) // stride + 1 + output_padding


@up.wrong("stamps one kernel of 3 pixels; you say 5")
def one_stamp_too_many(size, kernel, stride=1, padding=0, output_padding=0):
    return size * stride + kernel - 2 * padding + output_padding


@up.wrong("stamps one kernel of 3 pixels; you say 1")
def kernel_left_out(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride - 2 * padding + output_padding + 1


@up.wrong("stamps one kernel of 3 pixels; you say 2")
def doubles_by_heart(size, kernel, stride=1, padding=0, output_padding=0):
    return size * stride


@up.wrong("each one pixel further, cover 6; you say 12")
def stamps_side_by_side(size, kernel, stride=1, padding=0, output_padding=0):
    return size * kernel - 2 * padding + output_padding


@up.wrong("each two pixels further, cover 9; you say 6")
def stride_left_out(size, kernel, stride=1, padding=0, output_padding=0):
    return size - 1 + kernel - 2 * padding + output_padding


@up.wrong("cuts one off on both sides: 7, not 8")
def cuts_one_side(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride + kernel - padding + output_padding


@up.wrong("cuts one off on both sides: 7, not 11")
def adds_the_padding(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride + kernel + 2 * padding + output_padding


@up.wrong("cuts one off on both sides: 7, not 9")
def padding_left_out(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride + kernel + output_padding


@up.wrong("14 at output_padding 1; you say 15")
def doubles_output_padding(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride + kernel - 2 * padding + 2 * output_padding


@up.wrong("14 at output_padding 1; you say 13")
def output_padding_left_out(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride + kernel - 2 * padding


@up.wrong("at kernel 5, stride 3, padding 2, output_padding 2")
def one_at_most(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1) * stride + kernel - 2 * padding + bool(output_padding)


@up.wrong("is 3.0; a whole number (int) is wanted")
def as_a_float(size, kernel, stride=1, padding=0, output_padding=0):
    return (size - 1.0) * stride + kernel - 2 * padding + output_padding


@up.right
def last_stamp_ends(size, kernel, stride=1, padding=0, output_padding=0):
    last_begins = stride * (size - 1)
    return last_begins + kernel + output_padding - padding - padding


@up.right
def looks_at_a_transposed_layer(size, kernel, stride=1, padding=0, output_padding=0):
    layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding, output_padding)
    return layer(torch.zeros(1, 1, size, size)).shape[3]


@up.right
def stamps_in_a_loop(size, kernel, stride=1, padding=0, output_padding=0):
    end = 0
    for stamp in range(size):
        end = stamp * stride + kernel
    return end - 2 * padding + output_padding


@up.right
def zeros_between_pixels(size, kernel, stride=1, padding=0, output_padding=0):
    spread = size + (size - 1) * (stride - 1)
    return lesson03.conv_output_size(spread, kernel, 1, kernel - 1 - padding) + output_padding


# 3.3 receptive_field


@field.wrong("one layer with kernel 5 sees 5 pixels; you say 4")
def starts_at_nothing(layers):
    seen, step = 0, 1
    for kernel, stride in layers:
        seen += (kernel - 1) * step
        step *= stride
    return seen


@field.wrong("is 3.0; a whole number (int) is wanted")
def half_the_kernel(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) / 2 * step
        step *= stride
    return seen


@field.wrong("one layer with kernel 5 sees 5 pixels; you say 3")
def one_side_of_the_kernel(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) // 2 * step
        step *= stride
    return seen


@field.wrong("one layer with kernel 5 sees 5 pixels; you say 15")
def the_lessons_own(layers):
    return 15


@field.wrong("whatever its stride; you say 9")
def own_stride_too(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        seen += (kernel - 1) * step
    return seen


@field.wrong("kernel 3 and stride 1 see 5 pixels; you say 6")
def sum_of_kernels(layers):
    seen, step = 0, 1
    for kernel, stride in layers:
        seen += kernel * step
        step *= stride
    return seen


@field.wrong("kernel 3 and stride 1 see 5 pixels; you say 9")
def product_of_kernels(layers):
    return math.prod(kernel for kernel, _ in layers)


@field.wrong("kernel 3 and stride 1 see 5 pixels; you say 7")
def strides_added(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) * step
        step += stride
    return seen


@field.wrong("it sees nothing new: 5, not 7")
def from_the_wrong_end(layers):
    seen = 1
    for kernel, stride in layers:
        seen = (seen - 1) * stride + kernel
    return seen


@field.wrong("two more neighbours are 4 more pixels: 7, not 5")
def without_strides(layers):
    return 1 + sum(kernel - 1 for kernel, _ in layers)


@field.wrong("see 15 pixels, not 11: strides multiply")
def only_the_stride_before(layers):
    seen, before = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) * before
        before = stride
    return seen


@field.wrong("a kernel can be even")
def as_far_to_both_sides(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen += 2 * (kernel // 2) * step
        step *= stride
    return seen


@field.wrong("with strides 2, 3, 1, 1 see 35 pixels; you say 27")
def powers_of_two(layers):
    step, seen = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) * step
        step *= 1 if stride == 1 else 2
    return seen


@field.wrong("it changes the list")
def empties_the_list(layers):
    seen = 1
    while layers:
        kernel, stride = layers.pop()
        seen = (seen - 1) * stride + kernel
    return seen


@field.wrong("is None. Is there a return?")
def returns_nothing(layers):
    lesson03.receptive_field(layers)


@field.right
def backwards(layers):
    seen = 1
    for kernel, stride in reversed(layers):
        seen = (seen - 1) * stride + kernel
    return seen


@field.right
def in_one_sum(layers):
    strides = [stride for _, stride in layers]
    return 1 + sum((kernel - 1) * math.prod(strides[:i]) for i, (kernel, _) in enumerate(layers))


@field.right
def first_layer_first(layers):
    (seen, step), *rest = layers
    for kernel, stride in rest:
        seen, step = seen + (kernel - 1) * step, step * stride
    return seen


@field.right
def by_recursion(layers):
    if not layers:
        return 1
    *before, (kernel, _) = layers
    return by_recursion(before) + (kernel - 1) * math.prod(stride for _, stride in before)


@field.right
def by_gradient(layers):
    x = torch.zeros(1, 1, 201, requires_grad=True)
    y = x
    for kernel, stride in layers:
        y = F.conv1d(y, torch.ones(1, 1, kernel), stride=stride)
    y[0, 0, y.shape[-1] // 2].backward()
    return x.grad.count_nonzero().item()


@field.right
def by_gradient_of_layers(layers):
    net = nn.Sequential(*(nn.Conv2d(1, 1, kernel, stride) for kernel, stride in layers)).double()
    x = torch.rand(1, 1, 64, 64, dtype=torch.double, requires_grad=True)
    net(x)[0, 0, 0, 0].backward()
    return int((x.grad != 0).any(dim=2).sum())


# 3.4 convolutional_encoder


def conv_block(channels_in, channels_out, kernel_size=3, stride=2, padding=1, **how):
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size, stride, padding, **how)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]


def blocks(**how):
    return [*conv_block(1, 32, **how), *conv_block(32, 64, **how), *conv_block(64, 128, **how)]


@encoder.wrong("it returns None. Is there a return?")
def forgets_to_return(latent_dim=32):
    net = models.convolutional_encoder(latent_dim)  # noqa: F841


@encoder.wrong("it returns a list")
def list_of_layers(latent_dim=32):
    return [*blocks(), nn.Flatten(), nn.Linear(2048, latent_dim)]


@encoder.wrong("PyTorch finds 2 convolutions")
def two_convolutions(latent_dim=32):
    layers = [*conv_block(1, 32), *conv_block(32, 64)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 7 * 7, latent_dim))


@encoder.wrong("PyTorch finds 0 convolutions in it, three are wanted: is one missing, or in a plain list?")
class PlainList(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.layers = [*blocks(), nn.Flatten(), nn.Linear(2048, latent_dim)]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@encoder.wrong("convolution 1 makes maps of (32, 28, 28)")
def max_pool(latent_dim=32):
    sizes = ((1, 32), (32, 64), (64, 128))
    layers = [layer for a, b in sizes for layer in (*conv_block(a, b, stride=1), nn.MaxPool2d(2, ceil_mode=True))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("convolution 1 makes maps of (32, 13, 13)")
def no_padding(latent_dim=32):
    return nn.Sequential(*blocks(padding=0), nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("convolution 3 makes maps of (128, 3, 3)")
def kernel_of_four(latent_dim=32):
    return nn.Sequential(*blocks(kernel_size=4), nn.Flatten(), nn.Linear(128 * 3 * 3, latent_dim))


@encoder.wrong("convolution 1 makes maps of (128, 14, 14)")
def channels_the_other_way(latent_dim=32):
    layers = [*conv_block(1, 128), *conv_block(128, 64), *conv_block(64, 32)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, latent_dim))


@encoder.wrong("to have 32 channels, but got 1 channels instead")
def channels_swapped(latent_dim=32):
    return nn.Sequential(nn.Conv2d(32, 1, 3, 2, 1), *blocks()[1:], nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("the kernels are not all 3×3")
def kernel_of_five(latent_dim=32):
    return nn.Sequential(*blocks(kernel_size=5, padding=2), nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("it has 0 batch norms")
def no_batch_norm(latent_dim=32):
    layers = [layer for layer in blocks() if not isinstance(layer, nn.BatchNorm2d)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("it has 2 batch norms")
def no_batch_norm_at_first(latent_dim=32):
    return nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), *blocks()[2:], nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("its batch norms are for [1, 32, 64] channels")
def batch_norm_before(latent_dim=32):
    layers = blocks()
    layers = [nn.BatchNorm2d(1), layers[0], layers[2], layers[1], layers[3], layers[5], layers[4], layers[6], layers[8]]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("a convolution has no bias")
def no_bias(latent_dim=32):
    return nn.Sequential(*blocks(bias=False), nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("it has 99,570 parameters")
def pools_the_last_maps(latent_dim=32):
    return nn.Sequential(*blocks(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, latent_dim))


@encoder.wrong("has the shape (3, 32); (3, 50) is wanted")
def latent_dim_ignored(latent_dim=32):
    return models.convolutional_encoder(32)


@encoder.wrong("has the shape (3, 128, 4, 50)")
def flatten_forgotten(latent_dim=32):
    return nn.Sequential(*blocks(), nn.Linear(4, latent_dim))


@encoder.wrong("mat1 and mat2 shapes cannot be multiplied")
def flatten_missing(latent_dim=32):
    return nn.Sequential(*blocks(), nn.Linear(2048, latent_dim))


@encoder.wrong("has the shape (3, 128, 4, 4)")
def no_code(latent_dim=32):
    return nn.Sequential(*blocks())


@encoder.wrong("no code is ever negative")
def relu_on_the_code(latent_dim=32):
    return nn.Sequential(models.convolutional_encoder(latent_dim), nn.ReLU())


@encoder.wrong("lies between 0.0 and 1.0: what squeezes it?")
def sigmoid_on_the_code(latent_dim=32):
    return nn.Sequential(models.convolutional_encoder(latent_dim), nn.Sigmoid())


@encoder.wrong("lies between -1.0 and 1.0: what squeezes it?")
def tanh_on_the_code(latent_dim=32):
    return nn.Sequential(models.convolutional_encoder(latent_dim), nn.Tanh())


@encoder.wrong("Is there batch norm and then one ReLU after each convolution")
def relu_before_batch_norm(latent_dim=32):
    layers = blocks()
    for i in (1, 4, 7):
        layers[i], layers[i + 1] = layers[i + 1], layers[i]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("% of its largest number")
def no_relu_after_the_second(latent_dim=32):
    layers = blocks()
    return nn.Sequential(*layers[:5], *layers[6:], nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("with the same weights your code differs")
def another_activation(latent_dim=32):
    layers = [nn.ReLU6() if isinstance(layer, nn.ReLU) else layer for layer in blocks()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.wrong("global random state")
def dropout(latent_dim=32):
    return nn.Sequential(*blocks(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(2048, latent_dim))


@encoder.wrong("no gradient reaches norms.2.weight, norms.2.bias")
class NormNeverUsed(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        sizes = (1, 32, 64, 128)
        self.convolutions = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, sizes[1:])])
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for channels in sizes[1:]])
        self.last = nn.Linear(2048, latent_dim)

    def forward(self, x):
        for convolution, norm in zip(self.convolutions[:2], self.norms):
            x = norm(convolution(x)).relu()
        return self.last(self.convolutions[2](x).relu().flatten(1))


@encoder.wrong("no gradient reaches 0.weight")
def detached(latent_dim=32):
    class Detach(nn.Module):
        def forward(self, x):
            return x.detach()

    return nn.Sequential(*blocks()[:3], Detach(), *blocks()[3:], nn.Flatten(), nn.Linear(2048, latent_dim))


@encoder.right
def from_blocks(latent_dim=32):
    return nn.Sequential(nn.Sequential(*blocks()), nn.Flatten(), nn.Linear(128 * 4 * 4, latent_dim))


@encoder.right
def returns_a_module(latent_dim=32):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(128 * 4 * 4, latent_dim)  # declared first, used last
            self.norm3, self.norm2, self.norm1 = nn.BatchNorm2d(128), nn.BatchNorm2d(64), nn.BatchNorm2d(32)
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 2, 1), nn.Conv2d(32, 64, 3, 2, 1)
            self.conv3 = nn.Conv2d(64, 128, 3, 2, 1)

        def forward(self, x):
            x = F.relu(self.norm1(self.conv1(x)))
            x = F.relu(self.norm2(self.conv2(x)))
            x = torch.clamp(self.norm3(self.conv3(x)), min=0)
            return self.linear(x.reshape(len(x), -1))

    return Encoder()


@encoder.right
class AsAClass(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        sizes = (1, 32, 64, 128)
        self.convolutions = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, sizes[1:])])
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for channels in sizes[1:]])
        self.code = nn.Linear(2048, latent_dim)

    def forward(self, x):
        for convolution, norm in zip(self.convolutions, self.norms):
            x = norm(convolution(x)).relu()
        return self.code(x.view(-1, 2048))


@encoder.right
def in_a_loop(latent_dim=32):
    net, channels = nn.Sequential(), 1
    for more in (32, 64, 128):
        for layer in conv_block(channels, more):
            net.append(layer)
        channels = more
    net.append(nn.Flatten())
    net.append(nn.Linear(2048, latent_dim))
    return net


@encoder.right
def lazily(latent_dim=32):
    layers = [layer for c in (32, 64, 128) for layer in (nn.LazyConv2d(c, 3, 2, 1), nn.LazyBatchNorm2d(), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(latent_dim))


# 3.5 reconstruction_error


@measure.wrong("3.5 to do, the bug is still there: measuring changes the model")
def the_bug_itself(model, images, batch_size=100):
    total = 0.0
    for batch in images.split(batch_size):
        x = to_float(batch)
        total += squared_error(model(x), x).sum().item()
    return total / images.numel()


@measure.wrong("the bug is still there: a model in training mode gives")
def on_a_copy_only(model, images, batch_size=100):
    total, twin = 0.0, copy.deepcopy(model)
    with torch.no_grad():
        for batch in images.split(batch_size):
            x = to_float(batch)
            total += squared_error(twin(x), x).sum().item()
    return total / images.numel()


@measure.wrong("came in training mode leaves in evaluation mode")
def never_restores(model, images, batch_size=100):
    model.eval()
    with torch.no_grad():
        errors = [squared_error(model(to_float(batch)), to_float(batch)) for batch in images.split(batch_size)]
    return torch.cat(errors).sum().item() / images.numel()


@measure.wrong("came in evaluation mode leaves in training mode")
def always_trains_on(model, images, batch_size=100):
    error = lesson03.reconstruction_error(model, images, batch_size)
    model.train()
    return error


@measure.wrong("gradients are recorded")
def records_gradients(model, images, batch_size=100):
    mode, total = model.training, 0.0
    model.eval()
    for batch in images.split(batch_size):
        x = to_float(batch)
        total += squared_error(model(x), x).sum().item()
    model.train(mode)
    return total / images.numel()


@torch.no_grad()
def in_eval(model, images, batch_size):
    """One squared error per image and batch, for wrong answers to put together wrongly."""
    mode = model.training
    model.eval()
    errors = [squared_error(model(to_float(batch)), to_float(batch)) for batch in images.split(batch_size)]
    model.train(mode)
    return errors


@measure.wrong("does every image count alike?")
def averages_the_batches(model, images, batch_size=100):
    means = [errors.mean().item() for errors in in_eval(model, images, batch_size)]
    return sum(means) / len(means) / images[0].numel()


@measure.wrong("in batches of 2, 2 and 1 0.09884: does every image count alike?")
def leaves_the_last_batch_out(model, images, batch_size=100):
    errors = [errors for errors in in_eval(model, images, batch_size) if len(errors) in (batch_size, len(images))]
    return (torch.cat(errors).mean() / images[0].numel()).item()


@measure.wrong("784 times too large")
def error_per_image(model, images, batch_size=100):
    return torch.cat(in_eval(model, images, batch_size)).mean().item()


@measure.wrong("as there are pixels in all")
def sum_of_all(model, images, batch_size=100):
    return torch.cat(in_eval(model, images, batch_size)).sum().item()


@measure.wrong("it returns (5,) numbers; one is wanted")
def one_for_each_image(model, images, batch_size=100):
    return torch.cat(in_eval(model, images, batch_size)) / images[0].numel()


@measure.wrong("a small model makes an error of")
def root_of_it(model, images, batch_size=100):
    return math.sqrt(lesson03.reconstruction_error(model, images, batch_size))


@measure.wrong("at batch_size=2 the model is given 5 images at once")
def batch_size_ignored(model, images, batch_size=100):
    return lesson03.reconstruction_error(model, images, 100)


@measure.wrong("it returns None. Is there a return?")
def prints_it(model, images, batch_size=100):
    print(f"{lesson03.reconstruction_error(model, images, batch_size):.4f}")


@measure.wrong("it returns a str; a number is wanted")
def as_text(model, images, batch_size=100):
    return f"{lesson03.reconstruction_error(model, images, batch_size):.4f}"


@measure.right
def with_tools_of_the_course(model, images, batch_size=100):
    return metrics.mse(training.in_batches(model, images, batch_size), to_float(images))


@measure.right
def with_evaluate(model, images, batch_size=100):
    return training.evaluate(model, images, batch_size)["reconstruction"] / 784


@measure.right
@torch.inference_mode()
def as_a_tensor(model, images, batch_size=100):
    was_training = model.training
    model.train(False)
    total = torch.zeros(())
    for start in range(0, len(images), batch_size):
        x = to_float(images[start : start + batch_size])
        total += F.mse_loss(model(x), x, reduction="sum")
    if was_training:
        model.train()
    return total / images.numel()


@measure.right
def on_a_copy(model, images, batch_size=100):
    twin = copy.deepcopy(model).eval()
    return torch.cat(in_eval(twin, images, batch_size)).mean().item() / 784


@measure.right
def with_a_loader(model, images, batch_size=100):
    mode, total = model.training, 0.0
    model.eval()
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(images, batch_size):
            x = batch.float() / 255
            total += ((model(x) - x) ** 2).mean().item() * len(x)
    model.train(mode)
    return total / len(images)


# 3.6 prediction


@predict.wrong("neighbours are no longer neighbours")
def unchanged():
    return "unchanged"


@predict.wrong("what are they good for now?")
def ahead():
    return "ahead"


@predict.wrong('"same" is none of')
def same():
    return "same"


@predict.wrong("you answer 2;")
def a_number():
    return 2


@predict.wrong("you answer ('behind',);")
def a_tuple():
    return ("behind",)


@predict.wrong("you answer None;")
def says_it_only():
    print("behind")


@predict.right
def with_a_capital():
    return "Behind "


@predict.right
def by_reasoning():
    neighbours_matter = True
    return "behind" if neighbours_matter else "unchanged"


test_wrong, test_right, test_galleries = gallery_tests(galleries)
