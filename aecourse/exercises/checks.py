"""What the checks of all lessons share: the list of exercises, and ways to say what is wrong.

A check is a function of the learner's answer. It returns if the answer is right and raises `Wrong`
with a sentence that says what is off, by how much and where to look, without giving the answer away.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

EXERCISES = {}


class Wrong(Exception):
    """The answer is not right; the message says how it shows."""


class Bug(Wrong):
    """The bug that the exercise is about is still there."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: the course's own answer, the check, two or three hints.

    prediction: the answer is a guess of what will happen, which no code of the lesson uses.
    """

    solution: Callable
    check: Callable
    hints: tuple
    prediction: bool


def check(number, solution, hints, prediction=False):
    """Register the decorated function as the check of an exercise."""

    def register(function):
        EXERCISES[number] = Exercise(solution, function, tuple(hints), prediction)
        return function

    return register


def require(condition, message, error=Wrong):
    """Refuse the answer with a message unless the condition holds."""
    if not condition:
        raise error(message)


def call(function, *inputs):
    """Call a learner's function; refuse it if it changes its inputs or the global random state."""
    copies = [x.clone() if torch.is_tensor(x) else x for x in inputs]
    state = torch.get_rng_state()
    result = function(*inputs)
    for x, copy in zip(inputs, copies):
        if torch.is_tensor(x):
            require(torch.equal(x, copy), "it changes its input in place; whoever called it still needs that tensor.")
    require(
        torch.equal(state, torch.get_rng_state()),
        "it changes the global random state. Nothing here is random: is there a manual_seed or a dropout?",
    )
    return result


def require_tensor(result, shape, what):
    """Refuse a result that is not a tensor of this shape, saying what came instead."""
    require(result is not None, f"{what} is None. Is there a return?")
    require(torch.is_tensor(result), f"{what} is a {type(result).__name__}; a tensor is wanted.")
    require(
        tuple(result.shape) == tuple(shape), f"{what} has the shape {tuple(result.shape)}; {tuple(shape)} is wanted."
    )


def require_number(result, what, nan="is 0 divided by 0, or a logarithm taken of 0 or less?"):
    """A result as a float; refuse what is no single number. One in a tensor without dimensions will do."""
    require(result is not None, f"{what} is None. Is there a return, in every case?")
    shape = f" of the shape {tuple(result.shape)}" if hasattr(result, "shape") else ""
    if shape and result.ndim == 0:
        result = result.item()
    require(isinstance(result, (int, float)), f"{what} is a {type(result).__name__}{shape}; a number is wanted.")
    require(not math.isnan(result), f"{what} is nan: {nan}")
    return float(result)


def require_choice(answer, *options):
    """Call a prediction and return which of the options it chooses; refuse whatever is none of them."""
    choice = call(answer)
    listed = ", ".join(f'"{option}"' for option in options)
    require(isinstance(choice, str), f"you answer {choice!r}; return one of the texts {listed}.")
    choice = choice.strip().lower()
    require(choice in options, f'"{choice}" is none of {listed}.')
    return choice


def close(a, b):
    """Whether two numbers or tensors agree to float32 accuracy."""
    return torch.allclose(torch.as_tensor(a).float(), torch.as_tensor(b).float(), rtol=1e-4, atol=1e-6)


def require_gradients(loss, model):
    """Refuse a loss whose gradient misses a parameter of the model, by name."""
    require(len(list(model.parameters())), "the model has no parameters: are its layers in a plain list?")
    require(loss.requires_grad, "the loss is cut off from the weights: is there a detach, an item() or a no_grad?")
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    missed = [name for name, gradient in zip(names, gradients) if gradient is None or not gradient.any()]
    require(not missed, f"no gradient reaches {', '.join(missed)}: is it used, and nothing detached after it?")
