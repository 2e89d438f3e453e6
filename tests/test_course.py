"""course.py: what it does when the environment is missing, half made, complete, outdated or moved."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

COURSE = Path(__file__).resolve().parents[1] / "course.py"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """course.py in a folder with a space in its name; makes and installs nothing, but records what it would."""
    root = tmp_path / "a course"
    root.mkdir()
    (root / "course.py").write_bytes(COURSE.read_bytes())
    (root / "requirements.txt").write_text("torch>=2.4\n")
    spec = importlib.util.spec_from_file_location("course_under_test", root / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.calls, module.failing = [], set()

    def create(folder, with_pip, clear, symlinks):
        module.calls.append("clear" if clear else "keep")
        module.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        module.PYTHON.touch()

    def run(name, *arguments):
        module.calls.append(name)
        if "interrupt" in module.failing:
            raise KeyboardInterrupt
        return int(name in module.failing)

    monkeypatch.setattr(module.venv, "create", create)
    module.run = run
    return module


def set_up(course):
    course.calls.clear()
    course.set_up()
    return course.calls


def test_first_run_installs_with_uv_and_the_second_does_nothing(course):
    assert set_up(course) == ["clear", "pip", "uv"]
    assert set_up(course) == []


def test_without_uv_pip_does_it(course):
    course.failing = {"uv"}
    assert set_up(course) == ["clear", "pip", "uv", "pip"]
    assert set_up(course) == []


def test_failure_leaves_no_stamp_and_is_told(course):
    course.failing = {"pip"}
    with pytest.raises(SystemExit, match="Run the same command again"):
        course.set_up()
    course.failing = set()
    assert set_up(course) == ["keep", "pip", "uv"], "a failed update without a network deletes nothing"
    assert set_up(course) == []


def test_interrupted_run_is_completed_by_the_next(course):
    course.failing = {"interrupt"}
    with pytest.raises(KeyboardInterrupt):
        course.set_up()
    course.failing = set()
    assert set_up(course) == ["clear", "pip", "uv"], "half a package would look like a whole one"
    assert set_up(course) == []


def test_changed_requirements_are_installed_on_top(course):
    set_up(course)
    (course.ROOT / "requirements.txt").write_text("torch>=9\n")
    assert set_up(course) == ["pip", "uv"], "its own Python may be the one that runs course.py"


def test_moved_or_broken_environment_is_made_anew(course):
    set_up(course)
    course.STAMP.write_text("/somewhere/else/.venv\ntorch>=2.4\n")
    assert set_up(course) == ["clear", "pip", "uv"]
    course.PYTHON.unlink()
    assert set_up(course) == ["clear", "pip", "uv"]


@pytest.mark.parametrize("arguments", [[], ["learn"], ["--help"]])
def test_help_names_the_commands(arguments):
    done = subprocess.run([sys.executable, COURSE, *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and "course.py lab" in done.stderr and "course.py test" in done.stderr
