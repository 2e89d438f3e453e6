"""The machinery of the exercises: their states, hints, solutions, progress, strict mode."""

import sys

import pytest
import torch

from aecourse import exercises, losses
from aecourse.exercises import ExerciseError, exercise, hint, progress, solution
from aecourse.exercises.checks import EXERCISES, Wrong, call, require_tensor


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(exercises, "_right", {})
    monkeypatch.setattr(exercises, "_hints_given", {})
    monkeypatch.setattr(exercises, "_lesson", None)


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """A lesson 0 in two parts, with a file of checks for each; returns the numbers whose files have been read."""
    for part, numbers in {"00": ("0.1", "0.2"), "00b": ("0b.1", "0b.2", "0b.3")}.items():
        lines = ["from aecourse.exercises.checks import check", "from aecourse.losses import squared_error"]
        for number in numbers:
            lines += [f'@check("{number}", squared_error, hints=("Square.", "Sum."))', "def _check(answer): ...", ""]
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
    assert capsys.readouterr().out == "● 1.1 right. The lesson now runs on your squared_error.\n"


@pytest.mark.parametrize(
    "answer, card",
    [
        (empty, "○ 1.1 to do.\n  The lesson goes on with the course's squared_error."),
        (wrong, "✗ 1.1 not yet: one pixel off by 0.5 and 783 right ones cost 0.75, not 0.25."),
        (broken, "in broken:  return x_hat.no_such_method()\n    AttributeError"),
    ],
)
def test_other_answers_fall_back_and_say_so(capsys, answer, card):
    assert exercise("1.1")(answer) is losses.squared_error
    printed = capsys.readouterr().out
    assert card in printed and "goes on with the course's squared_error" in printed
    assert "site-packages" not in printed and "aecourse/" not in printed, "the learner's own lines only"


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
    assert "the lesson looks for squared_error; yours is called my_error" in capsys.readouterr().out
    assert globals()["squared_error"] is losses.squared_error


def test_an_answer_may_call_itself(monkeypatch):
    def count_parameters(model):
        own = sum(p.numel() for p in model.parameters(recurse=False) if p.requires_grad)
        return own + sum(globals()["count_parameters"](child) for child in model.children())

    assert exercise("1.3")(count_parameters) is count_parameters
    assert "count_parameters" not in globals(), "bound for the check alone; def binds it afterwards"


@pytest.mark.parametrize("end", [SystemExit, RecursionError, KeyError])
def test_no_answer_stops_the_lesson(capsys, end):
    @named
    def ends(x_hat, x):
        raise end

    assert exercise("1.1")(ends) is losses.squared_error
    assert "stopped with an error" in capsys.readouterr().out


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


def test_checks_leave_the_random_state_alone():
    state = torch.get_rng_state()
    for number in [number for number in EXERCISES if number.startswith("1.")] or ["1.1"]:
        exercise(number)(exercises.find(number).solution)
    assert torch.equal(torch.get_rng_state(), state)


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
    assert task.solution is losses.squared_error and task.check.__module__ == "aecourse.exercises.lesson00b"
    assert parts() == ["0b.1", "0b.2", "0b.3"], "the first part's file is not read"
    assert exercises.find("0.2").check.__module__ == "aecourse.exercises.lesson00"
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
        assert capsys.readouterr().out == f"● {number} right. The lesson now runs on your squared_error.\n"
        progress()
        assert capsys.readouterr().out.splitlines() == [f"Lesson {first}", *(f"  {line}" for line in others)]


@pytest.mark.parametrize("function", [exercise, hint, solution])
@pytest.mark.parametrize("number", ["1.99", "99.1", "", "one", 1.99])
def test_unknown_exercise_is_named(function, number):
    with pytest.raises(ValueError, match="there is no exercise"):
        function(number)


def test_call_notices_changed_inputs_and_changed_randomness():
    with pytest.raises(Wrong, match="in place"):
        call(lambda x: x.mul_(2), torch.ones(2))
    with pytest.raises(Wrong, match="random state"):
        call(lambda x: torch.rand(1), torch.ones(2))


@pytest.mark.parametrize("result, words", [(None, "is None"), (1.0, "is a float"), (torch.ones(2), r"shape \(2,\)")])
def test_require_tensor_says_what_came(result, words):
    with pytest.raises(Wrong, match=words):
        require_tensor(result, (3,), "the result")


def test_every_exercise_has_hints_and_a_documented_solution():
    exercises.find("1.1")
    for number, task in EXERCISES.items():
        assert 2 <= len(task.hints) <= 3, number
        assert task.solution.__doc__
