"""Galleries: for each exercise, plausible wrong answers with what the check has to say of each, and right ones."""

import contextlib
import io

import pytest

from aecourse import exercises


class Gallery:
    """Collects the answers to one exercise; `tests` makes the parametrised tests of them."""

    def __init__(self, number):
        self.number, self.wrong_answers, self.right_answers = number, [], []

    def wrong(self, message):
        """Register the decorated answer as one that is refused with a card that contains this text."""

        def register(answer):
            self.wrong_answers.append((answer, message))
            return answer

        return register

    def right(self, answer):
        """Register the decorated answer as right."""
        self.right_answers.append(answer)
        return answer


def judge(number, answer):
    """Run an answer through @exercise. Returns what the lesson goes on with, and the card."""
    answer.__name__ = exercises.find(number).solution.__name__  # as a learner's would be called
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        kept = exercises.exercise(number)(answer)
    return kept, printed.getvalue()


def gallery_tests(galleries):
    """The tests of a lesson's galleries: assign the result to names that begin with test_."""
    wrong = [
        pytest.param(g.number, *case, id=f"{g.number}-{i}") for g in galleries for i, case in enumerate(g.wrong_answers)
    ]
    right = [
        pytest.param(g.number, case, id=f"{g.number}-{i}") for g in galleries for i, case in enumerate(g.right_answers)
    ]

    @pytest.mark.parametrize("number, answer, message", wrong)
    def test_wrong_answer_is_refused_by_name(number, answer, message):
        kept, card = judge(number, answer)
        assert kept is exercises.find(number).solution
        assert message in card

    @pytest.mark.parametrize("number, answer", right)
    def test_right_answer_is_accepted(number, answer):
        kept, card = judge(number, answer)
        assert kept is answer, card
        assert card.startswith("●")

    @pytest.mark.parametrize("gallery", galleries, ids=lambda gallery: gallery.number)
    def test_gallery_is_large_and_its_messages_differ(gallery):
        cards = [judge(gallery.number, answer)[1] for answer, _ in gallery.wrong_answers]
        assert len(cards) >= 6 and len(set(cards)) == len(cards)
        assert len(gallery.right_answers) >= 2
        _, card = judge(gallery.number, exercises.find(gallery.number).solution)
        assert card.startswith("●"), card

    return (
        test_wrong_answer_is_refused_by_name,
        test_right_answer_is_accepted,
        test_gallery_is_large_and_its_messages_differ,
    )
