"""Every exercise: mistakes are refused by name, right answers accepted, and slips that any answer may have are seen."""

import inspect

import pytest
import torch
from torch import nn

from aecourse.exercises.checks import EXERCISES, Prediction
from tests.answers import NOT_ASKED, RIGHT, WRONG, judge

MISTAKES = [(number, name) for number, task in EXERCISES.items() for name in task.mistakes]
WRITTEN = [number for number, task in EXERCISES.items() if not isinstance(task, Prediction)]


def ids(cases):
    return [f"{number}-{getattr(what, '__name__', what)}" for number, what, *_ in cases]


@pytest.mark.parametrize("number, name", MISTAKES, ids=ids(MISTAKES))
def test_a_mistake_is_refused_with_its_own_message(number, name):
    task = EXERCISES[number]
    refusal = task.refusal(task.mistakes[name].answer)
    assert refusal, "it is accepted"
    named = task.named(refusal)
    assert named and named.answer.__name__ == task.mistakes[name].answer.__name__, refusal.text
    assert named is task.mistakes[name], "two mistakes look the same to the check"


@pytest.mark.parametrize("number", EXERCISES)
def test_no_two_messages_are_alike(number):
    messages = [mistake.message for mistake in EXERCISES[number].mistakes.values()]
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("number", EXERCISES)
def test_the_solution_is_accepted_and_documented(number):
    task = EXERCISES[number]
    refusal = task.refusal(task.solution)
    assert refusal is None, refusal.text
    assert 2 <= len(task.hints) <= 3
    assert isinstance(task, Prediction) or task.solution.__doc__


@pytest.mark.parametrize("number, answer", RIGHT, ids=ids(RIGHT))
def test_a_right_answer_is_accepted(number, answer):
    random = torch.get_rng_state()
    kept, card = judge(number, answer)
    assert kept is answer and card.startswith("●"), card
    assert torch.equal(torch.get_rng_state(), random), "the check moves the random state of the lesson"


@pytest.mark.parametrize("number, answer, mistake", WRONG, ids=ids(WRONG))
def test_a_wrong_answer_is_refused(number, answer, mistake):
    kept, card = judge(number, answer)
    assert kept is EXERCISES[number].solution and card.startswith("✗"), card
    if mistake:
        assert EXERCISES[number].mistakes[mistake].message in card


@pytest.mark.parametrize("number", [number for number, task in EXERCISES.items() if task.bug])
def test_the_bug_that_is_given_counts_as_to_do(number):
    kept, card = judge(number, EXERCISES[number].bug)
    assert kept is EXERCISES[number].solution and card.startswith(f"○ {number} to do.\n"), card


# Slips that any answer may have: the solution is wrapped in them, and every check has to see each that applies.

RESULTS = {
    "returns None": lambda r: None,
    "returns a list": lambda r: r.tolist() if torch.is_tensor(r) and r.ndim else r,
    "in float64": lambda r: r.double() if torch.is_tensor(r) and r.is_floating_point() else r,
    "in int32": lambda r: r.int() if torch.is_tensor(r) and r.dtype == torch.int64 else r,
    "detached": lambda r: r.detach() if torch.is_tensor(r) and r.requires_grad else r,
    "one per cent too large": lambda r: r * 1.01 if torch.is_tensor(r) and r.is_floating_point() and r.any() else r,
    "nan": lambda r: r * torch.nan if torch.is_tensor(r) and r.is_floating_point() else r,
    "of the first for all": lambda r: r[:1].expand_as(r) if torch.is_tensor(r) and r.ndim and len(r) > 1 else r,
    "backwards": lambda r: r.flip(0) if torch.is_tensor(r) and r.ndim and len(r) > 1 else r,
    "squeezed": lambda r: r.squeeze() if torch.is_tensor(r) and 1 in r.shape else r,
}


def leaves(result):
    """How many things a result consists of."""
    return len(result) if isinstance(result, (tuple, list, dict)) else 1


def with_leaf(result, i, change):
    """The result with its i-th thing changed, and whether that made a difference."""
    if not isinstance(result, (tuple, list, dict)):
        new = change(result)
        return new, new is not result
    keys = list(result) if isinstance(result, dict) else range(len(result))
    copy = dict(result) if isinstance(result, dict) else list(result)
    if i < len(keys):
        copy[keys[i]] = change(copy[keys[i]])
    changed = i < len(keys) and copy[keys[i]] is not result[keys[i]]
    return (tuple(copy) if isinstance(result, tuple) else copy), changed


def slips():
    """Name and wrapper: (function, applied) → a function with that slip, which notes in applied if it made it."""
    for name, change in RESULTS.items():
        for i in range(4):

            def on_result(function, applied, i=i, change=change):
                def slip(*inputs, **named):
                    result, changed = with_leaf(function(*inputs, **named), i, change)
                    applied.append(changed)
                    return result

                return slip

            yield f"{name} ({i})", on_result

    def changes_input(function, applied):
        def answer(*inputs, **named):
            result = function(*inputs, **named)
            for x in inputs:
                if torch.is_tensor(x) and x.is_floating_point():
                    x.data.add_(1)
                    applied.append(True)
                    break
            return result

        return answer

    def moves_random_state(function, applied):
        def answer(*inputs, **named):
            torch.rand(1)
            applied.append(True)
            return function(*inputs, **named)

        return answer

    yield "changes an input in place", changes_input
    yield "moves the random state", moves_random_state
    for i in range(4):

        def detaches_input(function, applied, i=i):
            def answer(*inputs, **named):
                inputs = list(inputs)
                if i < len(inputs) and torch.is_tensor(inputs[i]) and inputs[i].requires_grad:
                    inputs[i] = inputs[i].detach()
                    applied.append(True)
                return function(*inputs, **named)

            return answer

        yield f"detaches input {i}", detaches_input

    def leaves_a_module(what):
        def wrap(function, applied):
            def answer(*inputs, **named):
                result = function(*inputs, **named)
                for module in inputs:
                    if isinstance(module, nn.Module):
                        applied.append(what(module))
                return result

            return answer

        return wrap

    yield "leaves the mode changed", leaves_a_module(lambda m: m.train(not m.training) is m)
    yield "leaves a hook", leaves_a_module(lambda m: bool(m.register_forward_hook(lambda *_: None)))


def variants(solution, wrap, applied):
    """The solution with a slip; of a class, one variant for each of its methods."""
    if not isinstance(solution, type):
        yield solution.__name__, wrap(solution, applied)
        return
    for name, method in vars(solution).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            yield name, type(solution.__name__, (solution,), {name: wrap(method, applied)})


@pytest.mark.parametrize("number", WRITTEN)
def test_slips_are_seen(number):
    accepted, unclear = [], []
    for slip, wrap in slips():
        applied = []
        for where, answer in variants(EXERCISES[number].solution, wrap, applied):
            del applied[:]
            refusal = EXERCISES[number].refusal(answer)
            if any(applied) and refusal is None:
                accepted.append(f"{where} {slip}")
            if any(applied) and refusal and refusal.error and answer.__name__ == "slip":
                unclear.append(f"{where} {slip}: {refusal.text}")
    assert set(accepted) == NOT_ASKED.get(number, set())
    assert not unclear, "an error within the check instead of a sentence"
