"""Exercises that check themselves.

    @exercise("1.1")
    def squared_error(x_hat, x):
        ...

checks the answer as the cell runs, prints one short card, and returns the code that the lesson goes on with:
the learner's own if it is right, the course's otherwise. `hint("1.1")` gives the next hint,
`solution("1.1")` shows the course's code, `progress()` sums up the lesson. With the environment
variable AECOURSE_EXERCISES=strict an answer that is missing or wrong is an error.
"""

import ast
import importlib.util
import inspect
import os
import re
import sys
import textwrap
import traceback
from contextlib import contextmanager
from pathlib import Path

from aecourse.exercises.checks import EXERCISES, Prediction, Refusal

_right, _hints_given, _lesson = {}, {}, None


class ExerciseError(AssertionError):
    """In strict mode: the answer to an exercise is missing or wrong."""


def exercise(number):
    """Check the decorated function or class; return it if it is right, else the course's own.

    number: the exercise, such as "1.2".
    Raises ValueError if there is no such exercise; ExerciseError in strict mode if the answer is not right.
    """
    global _lesson
    task, number = find(number), str(number)
    _lesson = number.split(".")[0]
    predicts = isinstance(task, Prediction)

    def judge(answer):
        _right[number] = False
        try:
            card, problem = _judge(task, answer)
        except KeyboardInterrupt as interrupt:
            card, problem = f"○ {number} interrupted before it was checked. Run the cell again.", interrupt
        right = _right[number] = card.startswith("●")
        if not right and os.environ.get("AECOURSE_EXERCISES") == "strict":
            raise ExerciseError(card) from problem
        if right and not predicts:
            card += f' The lesson now runs on your {task.name}. To compare: solution("{number}").'
        elif not predicts:
            card += f"\n  The lesson goes on with the course's {task.name}."
            # with a renamed answer, the name that the lesson uses would be unbound
            vars(sys.modules[answer.__module__]).setdefault(task.name, task.solution)
        print(card)
        return answer if right else task.solution

    return judge


def _judge(task, answer):
    """The card for an answer, and the exception behind it if there is one."""
    number, name = task.number, task.name
    if _same_code(answer, task.bug):
        return f"○ {number} to do.", None
    if unwritten := _unwritten(answer):
        return f"○ {number} to do" + (f" ({' and '.join(unwritten)})." if isinstance(answer, type) else "."), None
    with _name_bound(name, answer):
        if getattr(answer, "__name__", name) != name and not isinstance(task, Prediction):
            refusal = Refusal(f"the lesson looks for {name}; yours is called {answer.__name__}.", (), None)
        else:
            refusal = task.refusal(answer)
    if refusal is None:
        return f"● {number} right.", None
    mistake = task.named(refusal)
    lines = [mistake.message] if mistake else []
    if refusal.error:
        lines.append(f"it stopped with an error:\n{_short_traceback(refusal.error)}")
    elif refusal.text:
        lines.append(f"Seen by the check: {refusal.text}" if mistake else refusal.text)
    return f"✗ {number} not yet: " + "\n  ".join(lines), refusal.error


@contextmanager
def _name_bound(name, answer):
    """The answer under its own name, which `def` binds only afterwards: recursion and super(Name, self) need it."""
    namespace = vars(sys.modules[answer.__module__])
    missing = object()
    before = namespace.get(name, missing)
    namespace[name] = answer
    try:
        yield
    finally:
        if before is missing:
            del namespace[name]
        else:
            namespace[name] = before


def hint(number):
    """Print the next hint for an exercise."""
    hints = find(number).hints
    given = _hints_given[number] = min(_hints_given.get(number, 0) + 1, len(hints))
    print(f"Hint {given} of {len(hints)}: {hints[given - 1]}")
    if given == len(hints):
        print(f'That was the last one. solution("{number}") shows the course\'s answer.')


def solution(number):
    """Print the course's own answer: the code that the lessons run on."""
    print(find(number).source())


def progress():
    """Print how many exercises of this lesson are right so far."""
    if _lesson is None:
        print("No exercise has been run yet.")
        return
    tasks = {number: task for number, task in EXERCISES.items() if number.split(".")[0] == _lesson}
    done = sum(_right.get(number, False) for number in tasks)
    print(f"Lesson {_lesson}: {done} of {len(tasks)} exercises right.")
    for number, task in tasks.items():
        print(f"  {'●' if _right.get(number) else '○'} {number} {task.name}")


def find(number):
    """The registered exercise of this number. Raises ValueError if there is none."""
    if lesson := re.fullmatch(r"0*(\d+)([a-z]?)\..*", str(number)):  # "5b.1" is of the second part of lesson 5
        module = f"aecourse.exercises.lesson{lesson[1]:0>2}{lesson[2]}"
        if importlib.util.find_spec(module):
            importlib.import_module(module)
    if str(number) not in EXERCISES:
        raise ValueError(f"there is no exercise {number!r}. So far there are: {', '.join(EXERCISES) or 'none'}.")
    return EXERCISES[str(number)]


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


def _same_code(answer, bug):
    """Whether an answer is the code that its cell started from; comments and docstrings do not count."""
    try:
        return bug is not None and essence(inspect.getsource(answer)) == essence(inspect.getsource(bug))
    except (OSError, TypeError, SyntaxError):  # made without a source that could be read
        return False


def essence(source):
    """The code of a function or class as text, without its name, decorators, docstring and comments."""
    code = ast.parse(textwrap.dedent(source)).body[0]
    if ast.get_docstring(code) is not None:
        del code.body[0]
    arguments = ast.dump(code.args) if isinstance(code, ast.FunctionDef) else ""
    return arguments + "".join(map(ast.dump, code.body))


def _short_traceback(error):
    """The lines of the learner's own code in the traceback, the last five, and the error."""
    ours = str(Path(__file__).resolve().parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(ours) and "site-packages" not in frame.filename
    ]
    lines = [f"line {frame.lineno}, in {frame.name}:  {frame.line}" for frame in frames[-5:]]
    lines += traceback.format_exception_only(error)
    return textwrap.indent("\n".join(line.rstrip() for line in lines), "    ")
