"""The machinery of the exercises: their states, hints, solutions, progress, strict mode."""

import re
import sys

import pytest
import torch
from torch import nn

from aecourse import exercises, losses
from aecourse.exercises import ExerciseError, checks, exercise, hint, progress, solution
from aecourse.exercises.checks import EXERCISES, Exercise, Wrong, call, prediction, require_same


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(exercises, "_right", {})
    monkeypatch.setattr(exercises, "_hints_given", {})
    monkeypatch.setattr(exercises, "_lesson", None)


@pytest.fixture
def task(monkeypatch):
    """An exercise of a lesson that exists for the test alone."""
    monkeypatch.setattr(checks, "EXERCISES", EXERCISES)
    made = Exercise("0.9", losses.squared_error, hints=("Square.", "Sum."))
    made.check(lambda answer: require_same(call(answer, *torch.rand(2, 3, 5)), torch.ones(3)))
    yield made
    del EXERCISES["0.9"]


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """A lesson 0 in two parts, with a file of exercises for each; returns the numbers whose files have been read."""
    for part, numbers in {"00": ("0.1", "0.2"), "00b": ("0b.1", "0b.2", "0b.3")}.items():
        lines = ["from aecourse.exercises.checks import Exercise", "from aecourse.losses import squared_error"]
        for number in numbers:
            lines += [f'Exercise("{number}", squared_error, hints=("Square.", "Sum.")).check(lambda answer: None)']
        (tmp_path / f"lesson{part}.py").write_text("\n".join(lines))
        monkeypatch.delitem(sys.modules, f"aecourse.exercises.lesson{part}", raising=False)
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    yield lambda: [number for number in EXERCISES if number.startswith("0")]
    for number in [number for number in EXERCISES if number.startswith("0")]:
        del EXERCISES[number]
    for part in ("00", "00b"):
        sys.modules.pop(f"aecourse.exercises.lesson{part}", None)


def named(function):
    function.__name__ = "squared_error"
    return function


@named
def right(x_hat, x):
    return losses.squared_error(x_hat, x)


@named
def wrong(x_hat, x):
    return 3 * losses.squared_error(x_hat, x)


@named
def empty(x_hat, x):
    """Only words."""
    ...


@named
def broken(x_hat, x):
    return x_hat.no_such_method()


def test_right_answer_is_kept(capsys):
    assert exercise("1.1")(right) is right
    card = capsys.readouterr().out
    assert card.startswith("● 1.1") and 'solution("1.1")' in card, "it offers the comparison"


@pytest.mark.parametrize("answer, state", [(empty, "○"), (wrong, "✗"), (broken, "✗")])
def test_other_answers_fall_back_and_say_so(capsys, answer, state):
    assert exercise("1.1")(answer) is losses.squared_error
    printed = capsys.readouterr().out
    assert printed.startswith(f"{state} 1.1") and "the course's squared_error" in printed
    assert "site-packages" not in printed and "aecourse/" not in printed, "the learner's own lines only"
    if answer is broken:
        assert "return x_hat.no_such_method()" in printed and "AttributeError" in printed


def test_an_untouched_cell_says_to_do_and_nothing_else(capsys):
    exercise("1.1")(empty)
    exercise("1.4")(EXERCISES["1.4"].bug)
    first, second = re.findall(r"○ 1.. to do.\n", capsys.readouterr().out)
    assert first != second


def test_a_given_bug_counts_as_untouched_whatever_its_comments(capsys):
    def reconstruction_loss(model, x):
        """Other words."""
        x_hat = model(x)  # another comment
        target = x[:, 0]
        return (x_hat - target).square().sum() / len(x)

    exercise("1.4")(reconstruction_loss)
    assert capsys.readouterr().out.startswith("○")

    def reconstruction_loss(model, x):
        x_hat = model(x)
        target = x[:, 0]
        return (x_hat - target).square().sum() / (len(x) + 0)

    exercise("1.4")(reconstruction_loss)
    assert capsys.readouterr().out.startswith("✗"), "touched, and still the bug"


@pytest.mark.parametrize("answer", [empty, wrong, broken])
def test_strict_mode_makes_it_an_error(monkeypatch, answer):
    monkeypatch.setenv("AECOURSE_EXERCISES", "strict")
    with pytest.raises(ExerciseError, match="1.1"):
        exercise("1.1")(answer)
    assert exercise("1.1")(right) is right


@pytest.mark.parametrize(
    "body, unwritten",
    [("...", True), ("pass", True), ('"""Words."""', True), ('"""Words."""\n    ...', True), ("return 1", False),
     ('return "a"', False), ("x = 1", False), ('"""Words."""\n    return "a"', False)],
)  # fmt: skip
def test_what_counts_as_unwritten(body, unwritten):
    scope = {}
    exec(f"def answer():\n    {body}\n", scope)
    assert bool(exercises._unwritten(scope["answer"])) is unwritten


def test_a_renamed_answer_is_told_and_the_lesson_still_finds_its_function(capsys, monkeypatch):
    monkeypatch.delitem(globals(), "squared_error", raising=False)

    def my_error(x_hat, x):
        return losses.squared_error(x_hat, x)

    assert exercise("1.1")(my_error) is losses.squared_error
    card = capsys.readouterr().out
    assert card.startswith("✗") and "my_error" in card
    assert globals()["squared_error"] is losses.squared_error


def test_an_answer_may_call_itself(monkeypatch):
    monkeypatch.delitem(globals(), "squared_error", raising=False)

    def squared_error(x_hat, x):
        if len(x) == 1:
            return losses.squared_error(x_hat, x)
        return torch.cat([globals()["squared_error"](x_hat[i : i + 1], x[i : i + 1]) for i in range(len(x))])

    assert exercise("1.1")(squared_error) is squared_error
    assert "squared_error" not in globals(), "bound for the check alone; def binds it afterwards"


@pytest.mark.parametrize("end", [SystemExit, RecursionError, KeyError])
def test_no_answer_stops_the_lesson(capsys, end):
    @named
    def ends(x_hat, x):
        raise end

    assert exercise("1.1")(ends) is losses.squared_error
    assert end.__name__ in capsys.readouterr().out


def test_an_interrupted_check_ends_in_a_card_and_the_next_cell_runs(capsys, monkeypatch):
    @named
    def endless(x_hat, x):
        raise KeyboardInterrupt

    assert exercise("1.1")(endless) is losses.squared_error
    assert capsys.readouterr().out.startswith("○ 1.1 interrupted")
    assert exercise("1.1")(right) is right
    monkeypatch.setenv("AECOURSE_EXERCISES", "strict")
    with pytest.raises(ExerciseError):
        exercise("1.1")(endless)


def test_what_an_answer_does_to_torch_ends_with_its_check():
    @named
    def meddles(x_hat, x):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        return losses.squared_error(x_hat, x)

    exercise("1.1")(meddles)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_a_deep_recursion_gives_a_short_card(capsys):
    @named
    def forever(x_hat, x):
        return forever(x_hat, x)

    exercise("1.1")(forever)
    assert len(capsys.readouterr().out) < 1500


def test_hints_come_one_by_one(capsys):
    hints = exercises.find("1.1").hints
    for _ in range(len(hints) + 1):
        hint("1.1")
    printed = capsys.readouterr().out
    assert [printed.index(text) for text in hints] == sorted(printed.index(text) for text in hints)
    assert printed.count('solution("1.1")') == 2


def test_solution_is_the_courses_own_code(capsys):
    solution("1.1")
    printed = capsys.readouterr().out
    scope = {}
    exec(printed, scope)
    x_hat, x = torch.rand(2, 3, 1, 4, 4)
    assert torch.equal(scope["squared_error"](x_hat, x), losses.squared_error(x_hat, x))


def test_progress_counts_what_is_right(capsys):
    progress()
    assert "No exercise has been run yet." in capsys.readouterr().out
    exercise("1.1")(right)
    exercise("1.3")(wrong)  # under another exercise's name, too
    capsys.readouterr()
    progress()
    printed = capsys.readouterr().out
    assert "Lesson 1: 1 of 6 exercises right." in printed
    assert "● 1.1 squared_error" in printed and "○ 1.3 count_parameters" in printed
    exercise("1.1")(wrong)
    capsys.readouterr()
    progress()
    assert "0 of 6" in capsys.readouterr().out, "an answer that was right and is no longer"


def test_a_second_part_has_a_file_of_its_own(parts):
    task = exercises.find("0b.1")
    assert task.solution is losses.squared_error
    assert parts() == ["0b.1", "0b.2", "0b.3"], "the first part's file is not read"
    assert exercises.find("0.2").solution is losses.squared_error
    assert parts() == ["0b.1", "0b.2", "0b.3", "0.1", "0.2"]


@pytest.mark.parametrize("number", ["0b.4", "0.3", "0c.1", "0b", "b.1", "0B.1"])
def test_a_part_does_not_have_the_numbers_of_the_other(parts, number):
    exercises.find("0b.1"), exercises.find("0.1")
    with pytest.raises(ValueError, match=f"there is no exercise '{number}'. So far there are: .*0b.3"):
        exercises.find(number)


def test_progress_counts_the_exercises_of_this_part_alone(parts, capsys):
    lessons = {
        "0b.1": ["0b: 1 of 3 exercises right.", "● 0b.1 squared_error", "○ 0b.2 squared_error", "○ 0b.3 squared_error"],
        "0.2": ["0: 1 of 2 exercises right.", "○ 0.1 squared_error", "● 0.2 squared_error"],
    }
    for number, (first, *others) in lessons.items():
        exercise(number)(right)
        assert capsys.readouterr().out.startswith(f"● {number}")
        progress()
        assert capsys.readouterr().out.splitlines() == [f"Lesson {first}", *(f"  {line}" for line in others)]


@pytest.mark.parametrize("function", [exercise, hint, solution])
@pytest.mark.parametrize("number", ["1.99", "99.1", "", "one", 1.99])
def test_unknown_exercise_is_named(function, number):
    with pytest.raises(ValueError, match="there is no exercise"):
        function(number)


def test_a_mistake_is_named_by_what_the_check_observes(task):
    @task.mistake("zeros.")
    def zeros(x_hat, x):
        return torch.zeros(3)

    @task.mistake("raises.")
    def raises(x_hat, x):
        return x_hat.no_such_method()

    def name_of(answer):
        mistake = task.named(task.refusal(answer))
        return mistake and mistake.message

    assert name_of(lambda x_hat, x: x_hat[:, 0] * 0) == "zeros."
    assert name_of(lambda x_hat, x: x_hat[:, 0] * 0 + 1e-8) == "zeros.", "to float32 accuracy"
    assert name_of(lambda x_hat, x: torch.full((3,), 0.1)) is None, "refused by the same words, but seen to differ"
    assert name_of(lambda x_hat, x: torch.zeros(3).double()) is None
    assert name_of(lambda x_hat, x: x.no_such_method()) == "raises."
    assert task.refusal(lambda x_hat, x: torch.ones(3)) is None


def test_a_prediction_replies_to_each_option(capsys):
    prediction("0.8", answer="up", replies={"down": "it does not fall."}, hints=("Look.", "Again."))
    try:
        for choice, state in (("Up ", "●"), ("down", "✗"), ("left", "✗"), (None, "✗"), (1, "✗")):
            exercise("0.8")(lambda choice=choice: choice)
            card = capsys.readouterr().out
            assert card.startswith(f"{state} 0.8") and ("it does not fall." in card) == (choice == "down")
        solution("0.8")
        assert "up" in capsys.readouterr().out
    finally:
        del EXERCISES["0.8"]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    def forward(self, x):
        return self.inner(x)


def inner_mode(model, x):
    model.inner[1].eval()
    return x


def gradients(model, x):
    model(x).sum().backward()
    return x


def statistics(model, x):
    for module in model.modules():
        module.training = module is model.inner[1]
    model(x)
    for module in model.modules():
        module.training = False
    return x


@pytest.mark.parametrize(
    "function, training, words",
    [
        (lambda m, x: x.mul_(2), True, "in place"),
        (lambda m, x: x.detach_(), True, "requires_grad"),
        (lambda m, x: torch.rand(1), True, "random state"),
        (inner_mode, True, "eval"),
        (gradients, True, "gradients"),
        (statistics, False, "evaluation mode"),
        (lambda m, x: m.inner[0].weight.data.add_(1), True, "parameters"),
        (lambda m, x: m.inner[0].register_forward_hook(lambda *_: None), True, "hook"),
    ],
)
def test_call_sees_side_effects(function, training, words):
    model, x = Model().train(training), torch.rand(3, 2).requires_grad_().clone()
    call(lambda m, x: m(x), model, x)
    with pytest.raises(Wrong, match=words):
        with torch.no_grad() if words == "in place" else torch.enable_grad():
            call(function, model, x)


def test_numbers_that_differ_are_shown_to_differ():
    a, b = checks.shown(6.9600001, 6.96)
    assert a != b
    with pytest.raises(Wrong, match=r"at \[1\]"):
        require_same(torch.tensor([1.0, 2.001]), torch.tensor([1.0, 2.0]))


def test_gradients_are_compared_input_by_input():
    a, b = (checks.computed(torch.rand(4)) for _ in range(2))
    checks.require_same_gradients(a * b, a * b, {"a": a, "b": b})
    for wrong, words in ((a.detach() * b, "reaches a"), ((a * b).detach(), "cut off"), (a * b + a - a.detach(), "a")):
        with pytest.raises(Wrong, match=words):
            checks.require_same_gradients(wrong, a * b, {"a": a, "b": b})


def test_the_largest_tensor_is_measured():
    x = torch.rand(100, 3)
    assert checks.largest_tensor(lambda: x[:, None] - x) == 100 * 100 * 3 * 4
    assert checks.largest_tensor(lambda: x.expand(50, 100, 3)) <= 100 * 3 * 4, "a view needs no memory"
