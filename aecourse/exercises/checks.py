"""Exercises, and the functions that their checks share.

An exercise is the course's own solution, its hints, its check, and its *mistakes*: wrong answers as code, each
with the message that a learner gets. A check knows properties only. It calls the answer and compares the result
with the solution's by the functions below, and these *observe*: they record what they see before they judge it.
If an answer is refused, the mistakes go through the same check, and the one with the same observations says what
is wrong. So each mistake is written once, whether it shows in a value, a gradient, a side
effect or an error.
"""

import inspect
import math
import re
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from aecourse.training import default_device

EXERCISES = {}
_observed = []


class Wrong(Exception):
    """The answer is not right; the message says how it shows."""


@dataclass(frozen=True)
class Refusal:
    """Why a check refuses an answer: its message, all its observations, the answer's own error if it raised."""

    text: str
    observed: tuple
    error: Exception | None

    def is_like(self, other):
        """Whether both fail in the same way after the same observations: with the same error, or with messages that
        differ in their numbers only.
        """
        texts = self.text, other.text
        if not (self.error or other.error):
            texts = [re.sub(r"-?\d[\d.,e+-]*|\b(?:nan|inf)\b", "#", text) for text in texts]
        notes = list(zip(self.observed, other.observed))
        alike = all(_alike(x, y, rtol, atol) for (x, rtol, atol), (y, _, _) in notes)
        return texts[0] == texts[1] and len(self.observed) == len(other.observed) and alike


@dataclass(frozen=True)
class Mistake:
    """A wrong answer and its message."""

    answer: Callable
    message: str


class Exercise:
    """One exercise; making it registers it.

    number: such as "7.1", or "7b.1" in the second part of a lesson. solution: the function, method or class of
    the package that the lesson goes on with. hints: two or three. name: what the lesson calls the answer, where
    that is not the solution's own name.
    """

    def __init__(self, number, solution, hints, name=None):
        self.number, self.solution, self.hints = number, solution, tuple(hints)
        self.name = name or solution.__name__
        self.mistakes, self.bug, self._refusals = {}, None, {}
        EXERCISES[number] = self

    def mistake(self, message):
        """Register the decorated wrong answer under its name, with the message for whoever makes it."""

        def register(answer):
            self.mistakes[answer.__name__] = Mistake(answer, message)
            return answer

        return register

    def add_mistakes(self, wrap=lambda answer: answer, /, **answers):
        """As `mistake`, for answers of one expression each: name=(message, what wrap turns into an answer)."""
        for name, (message, answer) in answers.items():
            answer = wrap(answer)
            answer.__name__ = name
            self.mistake(message)(answer)

    def given(self, symptom):
        """As `mistake`, for the code with a bug that the learner's cell starts from. The message is the symptom."""

        def register(answer):
            self.bug = answer
            return self.mistake(symptom)(answer)

        return register

    def check(self, function):
        """Register the decorated check: a function of the answer, which raises `Wrong` unless it is right."""
        self._check = function
        return function

    def refusal(self, answer):
        """The check's Refusal of an answer, or None if it is right."""
        _observed.clear()
        try:
            with _state_kept():
                self._check(answer)
        except Wrong as wrong:
            return Refusal(str(wrong), tuple(_observed), None)
        except (Exception, SystemExit) as error:
            return Refusal(f"{type(error).__name__}: {error}", tuple(_observed), error)
        return None

    def named(self, refusal):
        """The mistake that is refused in the same way, or None."""
        for name, mistake in self.mistakes.items():
            if name not in self._refusals:  # a check has its own seed, so that it says the same each time
                self._refusals[name] = self.refusal(mistake.answer)
            if self._refusals[name] and refusal.is_like(self._refusals[name]):
                return mistake
        return None

    def source(self):
        """The solution's code, under the name that the lesson gives it."""
        code = textwrap.dedent(inspect.getsource(self.solution)).rstrip()
        return code.replace(f"def {self.solution.__name__}(", f"def {self.name}(", 1)


class Prediction(Exercise):
    """A question with a few texts to choose from. No code uses the answer, and the function may have any name.

    answer: the right text. replies: the message to each of the others.
    """

    def __init__(self, number, answer, replies, hints):
        super().__init__(number, lambda: answer, hints, name="prediction")
        self.options = answer, *replies
        for option, reply in replies.items():
            self.mistakes[option] = Mistake(lambda option=option: option, reply)

    def _check(self, answer):
        choice = call(answer)
        listed = ", ".join(f'"{option}"' for option in self.options)
        require(isinstance(choice, str), f"you answer {choice!r}; return one of the texts {listed}.")
        choice = choice.strip().lower()
        require(choice in self.options, f'"{choice}" is none of {listed}.')
        _observed.clear()
        observe(choice)
        require(choice == self.options[0], "")

    def source(self):
        """The line that answers."""
        return f'return "{self.options[0]}"'


prediction = Prediction


@contextmanager
def _state_kept():
    """Undo after a check whatever an answer does to PyTorch's global state."""
    gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        device = default_device()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(0)
            yield
    finally:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)


# Observing


def observe(value, rtol=1e-4, atol=1e-6):
    """Record a value seen of an answer. Two answers with equal values, within the tolerances, look the same."""
    _observed.append((_copy(value), rtol, atol))


def _copy(value):
    if torch.is_tensor(value):
        one = value.ndim == 0 and value.dtype in (torch.float32, torch.int64)
        value = value.detach()
        return float(value) if one else value.cpu().clone()
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)  # NumPy's and PyTorch's scalars count as numbers
    return value if isinstance(value, (bool, str, type(None))) else type(value).__name__


def _alike(a, b, rtol, atol):
    """Whether two values made by `_copy` are equal within a tolerance."""
    if type(a) is not type(b):
        return False
    if torch.is_tensor(a):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype == torch.bool or not (a.is_floating_point() or a.is_complex()):
            return torch.equal(a, b)
        return torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if isinstance(a, list):
        return len(a) == len(b) and all(_alike(x, y, rtol, atol) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key], rtol, atol) for key in a)
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=rtol, abs_tol=atol) or (math.isnan(a) and math.isnan(b))
    return a == b


# What checks call


def require(condition, message):
    """Refuse the answer with a message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def call(function, *inputs, sampled=False, **named):
    """Call an answer as the lesson will, and refuse side effects.

    Refused are: inputs changed in place or detached in place; the random state advanced,
    unless sampled; and in a module, among the inputs or the owner of the method that is called: parameters,
    modes, hooks or gradients that changed, running statistics that changed in evaluation mode.
    The result is observed, unless sampled.
    """
    tensors = [(x, x.clone(), x.requires_grad) for x in _tensors_in((inputs, named))]
    owner = getattr(function, "__self__", function)
    modules = [m for m in (*inputs, *named.values(), owner) if isinstance(m, nn.Module)]
    before, state, settings = [_state_of(module) for module in modules], torch.get_rng_state(), _settings()
    result = function(*inputs, **named)
    if not sampled:
        observe(result)
    for x, copy, had_gradient in tensors:
        if not _alike(x.detach(), copy.detach(), 0, 0):
            observe(x)
            require(False, "it changes its input in place; the caller still needs that tensor.")
        require(
            x.requires_grad == had_gradient,
            "it changes requires_grad of its input, or detaches it in place, for all other users, too: "
            "detach() makes a new tensor.",
        )
    for module, was in zip(modules, before):
        for what, now in _state_of(module).items():
            require(_alike(now, was[what], 0, 0), f"it leaves the model changed: {what}.")
    require(
        settings == _settings(),
        "it leaves gradients switched on or off, or another default dtype, for all that follows.",
    )
    require(
        sampled or torch.equal(state, torch.get_rng_state()),
        "it changes the global random state. Nothing here is random: is there a manual_seed or a dropout?",
    )
    return result


def _settings():
    return torch.is_grad_enabled(), torch.get_default_dtype()


def require_any_device(function, *inputs):
    """Refuse an answer that makes tensors on the CPU wherever its inputs are; works without a GPU.

    The inputs are moved to the device "meta", which has shapes and no values. An answer that has to read values
    raises an error there, and is not refused.
    """
    message = "it makes a tensor on the CPU, wherever its inputs are: on a GPU this raises an error."
    with torch.random.fork_rng(devices=[]):
        try:
            result = function(*(x.to("meta") if torch.is_tensor(x) else x for x in inputs))
        except Exception as error:
            stranger = re.search("not on the expected device|same device|but got", str(error)) and "meta" in str(error)
            require(not stranger, message)
            return
    require(all(x.device.type == "meta" for x in _tensors_in(result)), message)


def computed(x):
    """A copy of x like the output of a layer: it requires a gradient and is no leaf."""
    return x.clone().requires_grad_().clone()


def _tensors_in(value):
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(item)


def _state_of(module):
    """What a function that uses a module must not change, each under its description."""
    parts = list(module.modules())
    hooks = [[len(h) for name, h in vars(part).items() if name.endswith("_hooks")] for part in parts]
    still = [buffer for part in parts if not part.training for buffer in part.buffers(recurse=False)]
    learned = [p for p in module.parameters() if p.requires_grad and not nn.parameter.is_lazy(p)]
    return {
        "the mode, train() or eval(), has to be restored in every part of it": _copy([part.training for part in parts]),
        "a buffer, such as running statistics, has changed in evaluation mode": _copy(still),
        "its parameters have changed": _copy(learned),
        "requires_grad of its parameters has changed": _copy([p.requires_grad for p in module.parameters()]),
        "its parameters now have gradients; backward belongs in the training loop": _copy([p.grad for p in learned]),
        "it still has a hook": hooks,
    }


def require_tensor(result, shape, what="what it returns", dtype=torch.float32, device=None):
    """Refuse a result that is not a tensor of this shape, dtype and, if given, device, and say what it is instead."""
    require(result is not None, f"{what} is None. Is there a return?")
    kind = type(result).__name__
    listed = f" of {len(result)}" if isinstance(result, (tuple, list)) else ""
    require(torch.is_tensor(result), f"{what} is a {kind}{listed}; a tensor of the shape {tuple(shape)} is wanted.")
    require(
        tuple(result.shape) == tuple(shape), f"{what} has the shape {tuple(result.shape)}; {tuple(shape)} is wanted."
    )
    require(result.dtype == dtype, f"{what} has the dtype {result.dtype}; {dtype} is wanted.")
    if device is not None:
        require(
            result.device.type == torch.device(device).type,
            f"{what} is on the device {result.device}; its inputs are on {device}.",
        )


def require_number(result, what="what it returns", kind=Real):
    """A result as a number; refuse anything else. A tensor without dimensions counts. kind: Real or Integral."""
    require(result is not None, f"{what} is None. Is there a return, in every case?")
    shape = f" of the shape {tuple(result.shape)}" if hasattr(result, "shape") else ""
    if shape and result.ndim == 0:
        result = result.item()
    wanted = "a whole number (int)" if kind is Integral else "a number"
    one = isinstance(result, kind) and not isinstance(result, bool)
    require(one, f"{what} is a {type(result).__name__}{shape}; {wanted} is wanted.")
    require(not math.isnan(result), f"{what} is nan: is 0 divided by 0, or a logarithm taken of 0 or less?")
    return result


def require_several(result, names, what="what it returns"):
    """Refuse a result that is not a tuple or list of as many values as there are names."""
    got = len(result) if isinstance(result, (tuple, list)) else "None" if result is None else type(result).__name__
    require(
        isinstance(result, (tuple, list)) and len(result) == len(names),
        f"{what} should be {len(names)} values, {', '.join(names)}; yours is {got}.",
    )
    return result


def require_entries(result, names, what="what it returns"):
    """Refuse a result that is not a dictionary of scalar tensors, these names among its keys."""
    got = f"one with {list(result)}" if isinstance(result, dict) else f"a {type(result).__name__}"
    require(
        isinstance(result, dict) and set(names) <= set(result),
        f"{what} should be a dictionary with {', '.join(names)}; yours is {got}.",
    )
    for name, value in result.items():
        require_tensor(value, (), f"the entry {name!r}")
    return result


def close(a, b, rtol=1e-4, atol=1e-6):
    """Whether two numbers, or two tensors of one shape, agree to float32 accuracy."""
    a, b = (torch.as_tensor(x).detach().double().cpu() for x in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=rtol, atol=atol)


def require_same(yours, right, what="what it returns", rtol=1e-4, atol=1e-6):
    """Refuse a number or tensor that is not the right one, and show the first position where they differ.

    Dictionaries and tuples are compared entry by entry.
    """
    if isinstance(right, (dict, tuple, list)):
        for key in right if isinstance(right, dict) else range(len(right)):
            require_same(yours[key], right[key], f"{what}, entry {key!r}", rtol, atol)
        return
    observe(yours, rtol, atol)
    a, b = (torch.as_tensor(x).detach().double().cpu() for x in (yours, right))
    require(a.shape == b.shape, f"{what} has the shape {tuple(a.shape)}; {tuple(b.shape)} is wanted.")
    off = ~torch.isclose(a, b, rtol=rtol, atol=atol)
    if not off.any():
        return
    where = tuple(off.nonzero()[0].tolist())
    at = f" at {list(where)}" if where else ""
    number, wanted = shown(a[where].item(), b[where].item())
    many = f" ({off.sum():,} of {off.numel():,} differ.)" if off.numel() > 1 else ""
    require(False, f"{what} is {number}{at}; {wanted} is right.{many}")


def shown(a, b):
    """Two different numbers as texts, with enough digits to show that they differ."""
    if float(a).is_integer() and float(b).is_integer():
        return f"{a:,.0f}", f"{b:,.0f}"
    for digits in range(4, 18):
        texts = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts


def require_same_gradients(yours, right, inputs, what="what it returns", right_inputs=None, rtol=1e-3):
    """Refuse a result whose gradients with respect to its inputs are not those of the right one.

    inputs: a dictionary, name → tensor, such as dict(model.named_parameters()). right_inputs: the same of the
    right result, if that was computed from other tensors.
    """
    require(
        yours.requires_grad or not right.requires_grad,
        f"{what} is cut off from the graph: no gradient passes. Is there a detach, an item(), a no_grad or NumPy?",
    )
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(right.shape, generator=generator).to(right.device)  # in a mean, errors could cancel
    gradients, wanted = (
        torch.autograd.grad((out * weights).sum(), tensors, retain_graph=True, allow_unused=True)
        if out.requires_grad
        else [None] * len(inputs)
        for out, tensors in ((yours, list(inputs.values())), (right, list((right_inputs or inputs).values())))
    )
    observe(list(gradients))
    gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, inputs.values())]
    wanted = [torch.zeros_like(x) if g is None else g for g, x in zip(wanted, inputs.values())]
    missed = [name for name, g, r in zip(inputs, gradients, wanted) if r.any() and not g.any()]
    require(not missed, f"{what}: no gradient reaches {', '.join(missed)}. Is it used, and nothing detached after it?")
    extra = [name for name, g, r in zip(inputs, gradients, wanted) if g.any() and not r.any()]
    require(not extra, f"{what}: a gradient reaches {', '.join(extra)}, where none should.")
    for name, gradient, r in zip(inputs, gradients, wanted):
        scale = r.abs().max().item()
        off = (gradient - r).abs().max().item()
        require(
            off <= rtol * scale + 1e-7,
            f"{what}: the gradient of {name} is off by up to {off:.2g}, where the largest is {scale:.2g}.",
        )


class _LargestTensor(TorchFunctionMode):
    """Records the size in bytes of the largest tensor made under it."""

    most = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors_in(result):
            self.most = max(self.most, tensor.untyped_storage().nbytes())
        return result


def largest_tensor(function, *inputs):
    """Size in bytes of the largest tensor that a function makes, results included."""
    with _LargestTensor() as mode:
        function(*inputs)
    return mode.most


def require_normal(z, mean, std, what="what it samples"):
    """Refuse samples that are not independent samples of N(mean, std²).

    z: (n, d), detached, n at least 1,000. mean, std: (d,), the same for all. The tolerances are 8 standard errors
    or more, so that no right answer is refused by chance.
    """
    error = 1 / len(z) ** 0.5
    require(z.isfinite().all(), f"{what}: some are nan or inf. Is there a root or a logarithm of a negative number?")
    different = max(len(column.unique()) for column in z.T)
    observe(different > 0.9 * len(z))
    require(
        different > 0.9 * len(z),
        f"{what}: of {len(z):,} samples {different:,} are different. Is noise sampled anew for each, in every call?",
    )
    means, stds = z.mean(dim=0), z.std(dim=0)
    noise = (z - means) / stds.clamp(min=1e-12)
    observe(means, 0, 20 * error * stds.max().item())
    observe(stds, 20 * error, 0)
    correlation = (noise.T @ noise / len(z)).fill_diagonal_(0).abs().max().item()
    require(
        correlation < 8 * error,
        f"{what}: dimensions have correlations of up to {correlation:.2f}. Does each have its own noise?",
    )
    listed, wanted = (", ".join(f"{number:.3g}" for number in numbers.tolist()) for numbers in (stds, std))
    require(
        torch.allclose(stds, std, rtol=8 * error, atol=1e-7),
        f"{what}: the standard deviations are {listed}, where {wanted} are right.",
    )
    listed, wanted = (", ".join(f"{number:.3g}" for number in numbers.tolist()) for numbers in (means, mean))
    require(
        ((means - mean).abs() <= 8 * error * stds + 1e-6).all(),
        f"{what}: the means are {listed}, where {wanted} are right.",
    )
    within = (noise.abs() < 1).float().mean().item()
    observe(within, 0, 10 * error)
    require(
        abs(within - 0.683) < 4 * error,
        f"{what}: {within:.0%} lie within one standard deviation of the mean; of normal ones 68% do.",
    )
