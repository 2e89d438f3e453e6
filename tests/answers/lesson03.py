"""Answers to the exercises of lesson 3."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from aecourse import metrics, models, training
from aecourse.data import to_float
from aecourse.exercises.lesson03 import steps, to_code
from aecourse.losses import squared_error
from tests.answers import not_asked, right, wrong

slip = "moves the random state"  # a layer that is made, even if only for its shape, samples its weights
not_asked("3.1", f"conv_output_size {slip}")
not_asked("3.2", f"transposed_output_size {slip}")
not_asked("3.3", f"receptive_field {slip}")
not_asked("3.4", f"convolutional_encoder {slip}")
not_asked("3.5", f"reconstruction_error {slip}")  # so does a DataLoader

# 3.1 conv_output_size


@right("3.1")
def with_floor(size, kernel, stride=1, padding=0):
    return math.floor((size + 2 * padding - kernel) / stride + 1)


@right("3.1")
def counts_the_positions(size, kernel, stride=1, padding=0):
    return len(range(0, size + 2 * padding - kernel + 1, stride))


@right("3.1")
def looks_at_a_layer(size, kernel, stride=1, padding=0):
    return nn.Conv2d(1, 1, kernel, stride=stride, padding=padding)(torch.zeros(1, 1, size, size)).shape[-1]


@wrong("3.1")
def other_names(size, kernel, step=1, pad=0):
    return models.conv_output_size(size, kernel, step, pad)


# 3.2 transposed_output_size


@right("3.2")
def last_copy_ends(size, kernel, stride=1, padding=0, output_padding=0):
    last_begins = stride * (size - 1)
    return last_begins + kernel + output_padding - padding - padding


@right("3.2")
def looks_at_a_transposed_layer(size, kernel, stride=1, padding=0, output_padding=0):
    layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding, output_padding)
    return layer(torch.zeros(1, 1, size, size)).shape[3]


@right("3.2")
def zeros_between_pixels(size, kernel, stride=1, padding=0, output_padding=0):
    spread = size + (size - 1) * (stride - 1)
    return models.conv_output_size(spread, kernel, 1, kernel - 1 - padding) + output_padding


# 3.3 receptive_field


@right("3.3")
def backwards(layers):
    seen = 1
    for kernel, stride in reversed(layers):
        seen = (seen - 1) * stride + kernel
    return seen


@right("3.3")
def in_one_sum(layers):
    strides = [stride for _, stride in layers]
    return 1 + sum((kernel - 1) * math.prod(strides[:i]) for i, (kernel, _) in enumerate(layers))


@right("3.3")
def first_layer_first(layers):
    (seen, step), *rest = layers
    for kernel, stride in rest:
        seen, step = seen + (kernel - 1) * step, step * stride
    return seen


# 3.4 convolutional_encoder


@right("3.4")
def nested(latent_dim=32):
    return nn.Sequential(nn.Sequential(*steps()), nn.Flatten(), nn.Linear(128 * 4 * 4, latent_dim))


@right("3.4")
class ListsOfModules(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        layers = steps()
        self.convolutions, self.norms = nn.ModuleList(layers[0::3]), nn.ModuleList(layers[1::3])
        self.to_z = nn.Linear(2048, latent_dim)

    def forward(self, x):
        for convolution, norm in zip(self.convolutions, self.norms):
            x = norm(convolution(x)).relu()
        return self.to_z(x.view(-1, 2048))


@right("3.4")
class Functional(nn.Module):
    """Parameters of its own, in an order of their own, and no bias before batch norm."""

    def __init__(self, latent_dim=32):
        super().__init__()
        sizes = (1, 32, 64, 128)
        self.shift = nn.ParameterList(torch.zeros(c) for c in sizes[1:])
        self.scale = nn.ParameterList(torch.ones(c) for c in sizes[1:])
        self.kernels = nn.ParameterList(torch.randn(b, a, 3, 3) / a**0.5 for a, b in zip(sizes, sizes[1:]))
        self.to_code, self.bias = nn.Parameter(torch.randn(2048, latent_dim)), nn.Parameter(torch.zeros(latent_dim))
        for i, c in enumerate(sizes[1:]):
            self.register_buffer(f"mean{i}", torch.zeros(c))
            self.register_buffer(f"var{i}", torch.ones(c))

    def forward(self, x):
        for i, (kernel, scale, shift) in enumerate(zip(self.kernels, self.scale, self.shift)):
            x, buffers = F.conv2d(x, kernel, stride=2, padding=1), (getattr(self, f"mean{i}"), getattr(self, f"var{i}"))
            x = F.batch_norm(x, *buffers, scale, shift, training=self.training).relu()
        return x.flatten(1) @ self.to_code + self.bias


@wrong("3.4")
def list_of_layers(latent_dim=32):
    return [*steps(), nn.Flatten(), nn.Linear(2048, latent_dim)]


@wrong("3.4")
def another_activation(latent_dim=32):
    return to_code([nn.ReLU6() if isinstance(layer, nn.ReLU) else layer for layer in steps()], latent_dim)


@wrong("3.4")
def other_default(latent_dim=20):
    return models.convolutional_encoder(latent_dim)


# 3.5 reconstruction_error


@right("3.5")
def with_tools_of_the_course(model, images, batch_size=100):
    return metrics.mse(training.in_batches(model, images, batch_size), to_float(images))


@right("3.5")
def with_evaluate(model, images, batch_size=100):
    return training.evaluate(model, images, batch_size)["reconstruction"] / 784


@right("3.5")
def on_a_copy_with_gradients(model, images, batch_size=100):
    twin = copy.deepcopy(model).eval()
    errors = [squared_error(twin(to_float(batch)), to_float(batch)) for batch in images.split(batch_size)]
    return torch.cat(errors).mean().item() / 784


@wrong("3.5", "never_set_back")
def on_a_shallow_copy(model, images, batch_size=100):
    return with_tools_of_the_course(copy.copy(model).eval(), images, batch_size)


@wrong("3.5")
def puts_the_averages_back(model, images, batch_size=100):
    before, total = copy.deepcopy(model.state_dict()), 0.0
    with torch.no_grad():
        for batch in images.split(batch_size):
            total += squared_error(model(to_float(batch)), to_float(batch)).sum().item()
    model.load_state_dict(before)
    return total / images.numel()


@wrong("3.5")
def right_but_the_model_has_learned(model, images, batch_size=100):
    with torch.no_grad():
        model(to_float(images))
    return metrics.reconstruction_error(model, images, batch_size)


# 3.6 after_permuting


@right("3.6")
def with_a_capital():
    return "Behind "


@wrong("3.6")
def none_of_them():
    return "same"
