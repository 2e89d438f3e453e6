"""Exercises that check themselves.

    @exercise("1.1")
    def squared_error(x_hat, x):
        ...

checks the answer as the cell runs, prints one short card, and returns what the lesson goes on with:
the learner's own code if it is right, the course's otherwise. `hint("1.1")` gives the next hint,
`solution("1.1")` shows the course's code, `progress()` sums up the lesson. With the environment
variable AECOURSE_EXERCISES=strict an answer that is missing or wrong is an error.
"""

import importlib.util
import inspect
import os
import textwrap
import traceback

import torch

from aecourse.exercises.checks import EXERCISES, Wrong

_right, _hints_given, _lesson = {}, {}, None


class ExerciseError(AssertionError):
    """In strict mode: the answer to an exercise is missing or wrong."""


def exercise(number):
    """Check the decorated function or class; return it if it is right, else the course's own.

    number: the exercise, such as "1.2".
    Raises ValueError if there is no such exercise; ExerciseError in strict mode if the answer is not right.
    """
    global _lesson
    task = find(number)
    _lesson = number.split(".")[0]

    def judge(answer):
        name = task.solution.__name__
        unwritten = _unwritten(answer)
        problem = None
        if unwritten:
            card = f"○ {number} to do" + (f" ({' and '.join(unwritten)})." if isinstance(answer, type) else ".")
        else:
            try:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    task.check(answer)
                card = f"● {number} right."
            except Wrong as wrong:
                problem = wrong
                card = {
                    "write": f"✗ {number} not yet: {wrong}",
                    "bug": f"○ {number} to do, the bug is still there: {wrong}",
                    "predict": f"✗ {number} not what happens: {wrong}",
                }[task.kind]
            except Exception as error:
                problem = error
                card = f"✗ {number} stopped with an error:\n{_short_traceback(error, answer)}"
        right = _right[number] = card.startswith("●")
        if not right and os.environ.get("AECOURSE_EXERCISES") == "strict":
            raise ExerciseError(card) from problem
        if task.kind == "predict":
            print(card)
        elif right:
            print(f"{card} The lesson now runs on your {name}.")
        else:
            print(f"{card}\n  The lesson goes on with the course's {name}.")
        return answer if right else task.solution

    return judge


def hint(number):
    """Print the next hint for an exercise."""
    hints = find(number).hints
    given = _hints_given[number] = min(_hints_given.get(number, 0) + 1, len(hints))
    print(f"Hint {given} of {len(hints)}: {hints[given - 1]}")
    if given == len(hints):
        print(f'That was the last one. solution("{number}") shows the course\'s answer.')


def solution(number):
    """Print the course's own answer: the very code that the lessons run on."""
    print(inspect.getsource(find(number).solution).rstrip())


def progress():
    """Print how many exercises of this lesson are right so far."""
    if _lesson is None:
        print("No exercise has been run yet.")
        return
    find(f"{_lesson}.1")
    tasks = {number: task for number, task in EXERCISES.items() if number.split(".")[0] == _lesson}
    done = sum(_right.get(number, False) for number in tasks)
    print(f"Lesson {_lesson}: {done} of {len(tasks)} exercises right.")
    for number, task in tasks.items():
        print(f"  {'●' if _right.get(number) else '○'} {number} {task.solution.__name__}")


def find(number):
    """The registered exercise of this number. Raises ValueError if there is none."""
    lesson = str(number).split(".")[0]
    if lesson.isdecimal():
        module = f"aecourse.exercises.lesson{int(lesson):02d}"
        if importlib.util.find_spec(module):
            importlib.import_module(module)
    if number not in EXERCISES:
        raise ValueError(f"there is no exercise {number!r}. So far there are: {', '.join(EXERCISES) or 'none'}.")
    return EXERCISES[number]


def _empty(): ...


def _empty_with_docstring():
    """Nothing but this line."""
    ...


def _unwritten(answer):
    """Names of the functions in an answer whose body is still `...` (or pass)."""
    functions = vars(answer).values() if isinstance(answer, type) else [answer]
    bytecode = {_empty.__code__.co_code, _empty_with_docstring.__code__.co_code}
    return [
        f.__name__
        for f in functions
        if inspect.isfunction(f)
        and f.__code__.co_code in bytecode
        and all(constant in (None, f.__doc__) for constant in f.__code__.co_consts)
    ]


def _short_traceback(error, answer):
    """The lines of the learner's own code on the way to the error, and the error."""
    functions = vars(answer).values() if isinstance(answer, type) else [answer]
    files = {f.__code__.co_filename for f in functions if inspect.isfunction(f)}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    lines = [f"line {frame.lineno}, in {frame.name}:  {frame.line}" for frame in frames]
    lines += traceback.format_exception_only(error)
    return textwrap.indent("\n".join(line.rstrip() for line in lines), "    ")
