"""The repository agrees with itself: dependencies, addresses, commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.notebooks import LESSONS, published

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def project():
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(PYPROJECT)["project"]
    pytest.skip("tomllib came with Python 3.11")


def test_dependencies_are_the_same_everywhere():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    required = {line for line in text.splitlines() if line and not line.startswith("#")}
    declared = project()["dependencies"] + project()["optional-dependencies"]["course"]
    assert required == set(declared) and len(declared) == len(required)
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert re.search(r"- pip:\n\s+- -r requirements.txt\n", environment)
    python = project()["requires-python"]
    assert f"python{python}" in environment


def test_dependencies_have_lower_bounds_only():
    declared = project()["dependencies"] + project()["optional-dependencies"]["course"]
    assert all(re.fullmatch(r"[a-z-]+>=[\d.]+", requirement) for requirement in declared)


def test_the_published_address_is_one():
    address = project()["urls"]["repository"]
    path = address.removeprefix("https://github.com/")
    lessons = {lesson: notebook for lesson in LESSONS if (notebook := published(lesson))}
    for lesson, notebook in lessons.items():
        badge = f"https://colab.research.google.com/github/{path}/blob/main/notebooks/{lesson.name}"
        assert badge in notebook.cells[0].source
        assert f'"git+{address}", "torchmetrics"' in notebook.cells[1].source
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *lessons, *(ROOT / "aecourse").rglob("*.py")]
    for file in files:
        for found in re.findall(r"github(?:\.com)?/([\w.-]+/aecourse)\b", file.read_text(encoding="utf-8")):
            assert found == path, f"{file.name} says {found}"


def test_the_published_lessons_are_those_of_the_readme_and_each_has_its_exercises():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert list(dict.fromkeys(re.findall(r"\(notebooks/(.+?\.ipynb)\)", readme))) == [lesson.name for lesson in LESSONS]
    exercises = {path.stem.removeprefix("lesson") for path in (ROOT / "aecourse" / "exercises").glob("lesson*.py")}
    assert exercises == {lesson.name.split("_")[0] for lesson in LESSONS}
    for file in re.findall(r"\]\((?!http)([\w./-]+)\)", readme) + re.findall(r'src="(?!http)([\w./-]+)"', readme):
        there = (ROOT / file).exists() or file.endswith(".ipynb")  # whose lessons may have been moved
        assert there, f"the README points to {file}"


def test_a_placeholder_in_the_address_is_explained():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ("/OWNER/" in project()["urls"]["repository"]) == ("says `OWNER`" in readme)


def test_ci_runs_the_readmes_command():
    readme, ci, workflow = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run", ".github/workflows/test.yml")
    )
    assert "python3 course.py test" in readme and "python3 course.py test" in ci and "course.py test" in workflow
    assert all(system in workflow for system in ("ubuntu", "macos", "windows"))


def test_no_dataset_is_in_the_repository():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files", "data"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["data/README.md"]
