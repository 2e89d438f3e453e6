"""Answers to the exercises beside those of the course: right ones written differently, and further wrong ones.

The mistakes that get a message of their own stand in `aecourse/exercises`. Here are, one file a lesson, answers that
have to be accepted, and wrong ones of which it only matters that they are refused, or as which mistake.
"""

import contextlib
import importlib
import io
import os
from pathlib import Path

from aecourse import exercises

RIGHT, WRONG, NOT_ASKED = [], [], {}


def right(number):
    """Register the decorated answer as one that has to be accepted."""

    def register(answer):
        RIGHT.append((number, answer))
        return answer

    return register


def wrong(number, mistake=None):
    """Register the decorated answer as one that has to be refused; as this mistake, if one is named."""

    def register(answer):
        WRONG.append((number, answer, mistake))
        return answer

    return register


def not_asked(number, *slips):
    """The slips (see test_answers.py) that make no wrong answer of this exercise: nothing asks for their opposite."""
    NOT_ASKED[number] = set(slips)


def judge(number, answer):
    """Run an answer through @exercise. Returns what the lesson goes on with, and the card."""
    answer.__name__ = exercises.find(number).name  # as a learner's would be called
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        kept = exercises.exercise(number)(answer)
    return kept, printed.getvalue()


for file in sorted(Path(__file__).parent.glob(os.environ.get("AECOURSE_ONLY", "lesson*") + ".py")):
    importlib.import_module(f"tests.answers.{file.stem}")
    exercises.find(f"{file.stem.removeprefix('lesson').lstrip('0')}.1")  # reads the lesson's exercises
