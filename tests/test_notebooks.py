"""The notebooks as files, their setup cell, and every lesson solved, offline, from another folder.

That they run as they are handed out is pytest --nbmake's part.
"""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from aecourse import exercises
from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
LESSONS = notebooks.LESSONS


@pytest.fixture
def offline(tmp_path):
    """An environment without network, datasets, home or any configuration of pip and uv that this machine may have.

    `aecourse` is not on its path.
    """
    ours = "AECOURSE_", "PYTHONPATH", "PIP_", "UV_"
    variables = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    variables |= {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    for variable in ("HOME", "USERPROFILE"):
        variables[variable] = str(tmp_path)
    for variable in ("http_proxy", "https_proxy"):
        variables[variable] = "http://127.0.0.1:9"  # nobody answers there
    variables.pop("no_proxy", None)
    return variables | {"PYTHONUTF8": "1", "JUPYTER_PREFER_ENV_PATH": "1"}


PUBLISHED = [notebook for path in LESSONS if (notebook := notebooks.published(path))]
if not PUBLISHED:
    pytest.skip("somebody has worked in every lesson", allow_module_level=True)
SETUP = next(cell.source for cell in PUBLISHED[0].cells if cell.id == "setup")
PACKAGES = re.compile(r'"git\+https://[^"]*", "torchmetrics", "lightning-utilities"')  # what it installs


def python(code, folder, environment, executable=sys.executable):
    """Run code in another Python and return what it did and printed."""
    run = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "encoding": "utf-8"}
    return subprocess.run([executable, "-c", code], **run)


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def path(request):
    """A lesson as it was published. What a learner has made of one is not the course's to judge."""
    if not notebooks.published(request.param):
        pytest.skip("somebody has worked in it since it was published")
    return request.param


def test_nothing_is_wrong_with_a_lesson(path):
    assert notebooks.problems(path) == []


def test_setup_cell_is_the_same_everywhere_short_and_collapsed(path):
    assert len([line for line in SETUP.splitlines() if line.strip()]) <= 10
    assert SETUP.startswith("# @title Setup")
    setup, start = nbformat.read(path, as_version=4).cells[1:3]
    assert (setup.id, setup.source, start.id) == ("setup", SETUP, "start")
    assert setup.metadata == {"cellView": "form", "jupyter": {"source_hidden": True}}  # Colab, JupyterLab
    assert {"data = load", "plots.use_style()"} <= {line.split('("')[0] for line in start.source.splitlines()}


def test_a_lesson_has_four_to_six_exercises_and_ends_with_progress(path):
    cells = notebooks.code_cells(nbformat.read(path, as_version=4))
    numbers = [match[1] for cell in cells if (match := notebooks.EXERCISE.search(cell.source))]
    lesson = path.name.split("_")[0].lstrip("0")  # "5b" is the second part of lesson 5
    assert numbers == [f"{lesson}.{i}" for i in range(1, len(numbers) + 1)] and 4 <= len(numbers) <= 6
    assert cells[-1].source == "progress()"


def test_an_untouched_exercise_says_to_do_and_nothing_else(path):
    for cell in notebooks.code_cells(nbformat.read(path, as_version=4)):
        if match := notebooks.EXERCISE.search(cell.source):
            card, *more = "".join(output.get("text", "") for output in cell.outputs).splitlines()
            assert re.fullmatch(rf"○ {match[1]} to do( \(.*\))?\.", card) and len(more) <= 1


def test_a_bug_that_is_given_is_the_one_that_its_exercise_knows(path):
    for cell in notebooks.code_cells(nbformat.read(path, as_version=4)):
        match = notebooks.EXERCISE.search(cell.source)
        task = exercises.find(match[1]) if match else None
        if task and task.bug:
            assert exercises.essence(cell.source) == exercises.essence(inspect.getsource(task.bug)), task.number


def test_a_solved_lesson_runs_offline_from_another_folder(path, tmp_path, offline):
    notebook = nbformat.read(path, as_version=4)
    notebooks.solve(notebook)
    (tmp_path / "lessons").mkdir()
    (tmp_path / "elsewhere").mkdir()
    nbformat.write(notebook, tmp_path / "lessons" / path.name)
    shutil.copytree(ROOT / "aecourse", tmp_path / "site" / "aecourse", ignore=shutil.ignore_patterns("__pycache__"))
    environment = offline | {"PYTHONPATH": str(tmp_path / "site"), "AECOURSE_EXERCISES": "strict"}
    environment["AECOURSE_STAND_IN_PASSES"] = "4"  # whether it runs is asked here, not how well it learns
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "done.ipynb"]
    done = subprocess.run(
        [*command, str(tmp_path / "lessons" / path.name)],
        cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    cells = notebooks.code_cells(nbformat.read(tmp_path / "lessons" / "done.ipynb", as_version=4))
    printed = {cell.id: "".join(output.get("text", "") for output in cell.outputs) for cell in cells}
    assert "*** NOT MNIST" in printed["start"]
    tasks = [cell.id for cell in cells if notebooks.EXERCISE.search(cell.source)]
    assert tasks and all(printed[cell].startswith("●") for cell in tasks)
    assert f"{len(tasks)} of {len(tasks)} exercises right" in printed[cells[-1].id]


@pytest.mark.parametrize("folder", ["", "notebooks", "tests/answers"])
def test_setup_finds_the_clone_from_within_it(folder, offline):
    done = python(f"{SETUP}\nprint(aecourse.__file__)", ROOT / folder, offline)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]) == ROOT / "aecourse" / "__init__.py"


def test_setup_says_which_python_lacks_torch(tmp_path, offline):
    """A notebook in the clone, opened with another Python than the course's."""
    venv.create(tmp_path / "bare")
    bare = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = python(SETUP, ROOT / "notebooks", offline, bare)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0 and str(bare) in last and "no torch" in last and "course.py lab" in last, done.stderr


def test_setup_installs_a_wheel_where_there_is_no_clone_and_leaves_torch_alone(tmp_path, offline):
    """As on Colab: torch and numpy are there, aecourse is not, and the notebook is alone in an empty folder."""
    pytest.importorskip("setuptools", minversion="70.1")  # the first that builds wheels by itself
    source = tmp_path / "source"
    shutil.copytree(ROOT / "aecourse", source / "aecourse", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path / "wheels", source], check=True, env=offline)
    (wheel,) = (tmp_path / "wheels").glob("aecourse-*.whl")

    venv.create(tmp_path / "colab", with_pip=True)
    colab = tmp_path / "colab" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uninstall = [colab, "-m", "pip", "--quiet", "uninstall", "--yes", "setuptools"]  # older than torch wants
    subprocess.run(uninstall, check=True, env=offline)
    here = [folder for folder in sys.path if folder.endswith("site-packages")]
    ask = [colab, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    (packages / "torch-is-there.pth").write_text("\n".join(here))  # everything that this environment has
    (tmp_path / "empty").mkdir()

    setup, replaced = PACKAGES.subn(repr(str(wheel)) + ', "torchmetrics", "lightning-utilities"', SETUP)
    assert replaced == 1
    versions = "import numpy, torch; print(numpy.__version__, torch.__version__, numpy.__file__, torch.__file__)"
    before = python(versions, tmp_path / "empty", offline, colab)
    for attempt in ("first", "again"):
        done = python(f"{setup}\nprint(aecourse.__file__); {versions}", tmp_path / "empty", offline, colab)
        assert done.returncode == 0, done.stderr
        *_, file, after = done.stdout.splitlines()
        assert Path(file) == packages / "aecourse" / "__init__.py", attempt
        assert after == before.stdout.strip(), "torch and numpy are what they were"


def test_setup_that_cannot_install_says_so(tmp_path, offline):
    done = python(PACKAGES.sub('"./no-such.whl"', SETUP), tmp_path, offline)
    assert done.returncode != 0 and "aecourse was not found and could not be installed" in done.stderr
    assert "placeholder" in done.stderr


@pytest.mark.parametrize("metadata", [{"kernelspec": {"name": "conda-env-x-py", "display_name": "x"}}, {}])
def test_pytest_runs_a_notebook_on_its_own_python_whatever_kernel_was_saved(metadata, tmp_path, offline):
    """An editor's name for the kernel, or none; and another kernel that calls itself python3."""
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    source = f"import sys; assert sys.prefix == {sys.prefix!r}"
    nbformat.write(new_notebook(cells=[new_code_cell(source)], metadata=metadata), tmp_path / "answer.ipynb")
    environment = offline | {"JUPYTER_PATH": str(tmp_path / "jupyter"), "JUPYTER_PREFER_ENV_PATH": "0"}
    command = [sys.executable, "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", "-p", "conftest"]
    done = subprocess.run(
        [*command, tmp_path / "answer.ipynb"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_lacks_letters_prints_the_cards(encoding, offline):
    code = "import aecourse.exercises as e\n@e.exercise('1.1')\ndef squared_error(x_hat, x): ...\nprint('✗ × →')"
    run = {"cwd": ROOT, "env": offline | {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}, "capture_output": True}
    done = subprocess.run([sys.executable, "-c", code], **run)
    assert done.returncode == 0 and b"1.1" in done.stdout, done.stderr


# The checker itself, on small notebooks with one thing wrong in each


def good_notebook():
    code = new_code_cell("print(1)", execution_count=1, outputs=[new_output("stream", text="1\n")], id="b")
    notebook = new_notebook(cells=[new_markdown_cell("Words.", id="a"), code])
    notebook.metadata.update({"kernelspec": {"name": "python3", "display_name": "Python 3"}, "accelerator": "GPU"})
    notebook.metadata["aecourse"] = {"outputs_of": notebooks.fingerprint(notebook)}
    return notebook


def with_source(source):
    def change(notebook):
        notebook.cells[1].source = source
        notebook.metadata["aecourse"] = {"outputs_of": notebooks.fingerprint(notebook)}

    return change


def with_output(output):
    return lambda notebook: notebook.cells[1].outputs.append(output)


def figure(**data):
    return new_output("display_data", data=data)


IMG = '<img {}width="8" src="data:image/png;base64,AAAA">'
BAD = {
    "outputs older than its code": lambda notebook: notebook.cells[1].update(source="print(2)"),
    "not run once from top to bottom": lambda notebook: notebook.cells[1].update(execution_count=7),
    "without an id of their own": lambda notebook: notebook.cells[1].update(id="a"),
    "widget metadata": lambda notebook: notebook.metadata.update(widgets={}),
    "does not ask for the kernel python3": lambda notebook: notebook.metadata["kernelspec"].update(name="my-env"),
    "does not ask Colab for a GPU": lambda notebook: notebook.metadata.pop("accelerator"),
    "allows errors": lambda notebook: notebook.metadata.update(execution={"allow_errors": True}),
    "has the tag raises-exception": lambda notebook: notebook.cells[1].metadata.update(tags=["raises-exception"]),
    "has the tag skip-execution": lambda notebook: notebook.cells[1].metadata.update(tags=["skip-execution"]),
    "keeps timestamps": lambda notebook: notebook.cells[1].metadata.update(execution={"iopub.execute_input": "2020"}),
    "31 lines of code": with_source("\n".join(f"x = {i}" for i in range(31))),
    "a shell command": with_source("!pip install numpy"),
    "or a magic": with_source("%pip install numpy"),
    "imports from a file of exercises": with_source("from aecourse.exercises.lesson01 import Scaled"),
    "uses ipywidgets": with_source("from tqdm.auto import tqdm"),
    "ends in an error: ValueError": with_output(new_output("error", ename="ValueError", evalue="", traceback=[])),
    "a warning in its output": with_output(new_output("stream", name="stderr", text="careful\n")),
    "absolute path in its output: /home/somebody": with_output(new_output("stream", text="in /home/somebody/course\n")),
    r"absolute path in its output: C:\Users": with_output(new_output("stream", text="in C:\\Users\\somebody\n")),
    "a figure without a description": with_output(figure(**{"text/html": IMG.format("")})),
    "without a description in the page": with_output(figure(**{"image/png": "AAAA"})),
    "figure without a description in": with_output(figure(**{"text/html": IMG.format('alt="" ')})),
    "a description in the page: use": with_output(
        new_output("display_data", data={"image/gif": "AAAA"}, metadata={"image/gif": {"alt": "Not in the page."}})
    ),
    "MB": with_output(new_output("stream", text="x" * 1_600_000)),
}


def test_the_checker_finds_nothing_in_a_good_notebook(tmp_path):
    nbformat.write(good_notebook(), tmp_path / "good.ipynb")
    assert notebooks.problems(tmp_path / "good.ipynb") == []


@pytest.mark.parametrize("problem", BAD)
def test_the_checker_names_what_is_wrong(tmp_path, problem):
    notebook = good_notebook()
    BAD[problem](notebook)
    path = tmp_path / "bad.ipynb"
    path.write_text(nbformat.v4.writes(notebook), encoding="utf-8")
    found = notebooks.problems(path)
    assert len(found) == 1 and problem in found[0], found


@pytest.mark.parametrize("text", ["", "{}", '{"cells": 1}', "not json"])
def test_the_checker_refuses_what_is_no_notebook(tmp_path, text):
    (tmp_path / "bad.ipynb").write_text(text)
    assert "is no valid notebook" in notebooks.problems(tmp_path / "bad.ipynb")[0]


def test_execute_keeps_outputs_and_no_timestamps(tmp_path):
    notebook = good_notebook()
    notebook.cells[1].update(
        source="for i in range(3):\n    print(i, end='\\r')\nprint()", outputs=[], execution_count=None
    )
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    notebooks.execute(tmp_path / "lesson.ipynb")
    assert notebooks.problems(tmp_path / "lesson.ipynb") == []
    assert notebooks.published(tmp_path / "lesson.ipynb")
    (output,) = nbformat.read(tmp_path / "lesson.ipynb", as_version=4).cells[1].outputs
    assert output.text.strip() == "2", "of a progress bar only the last state"


def test_execute_keeps_figures_with_their_descriptions_and_the_cover(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = good_notebook()
    notebook.cells[1].metadata["tags"] = ["cover"]
    notebook.cells[1].update(
        source="import matplotlib.pyplot as plt\nfrom aecourse import plots\nplt.switch_backend('agg')\n"
        "print('first')\nplots.show(plt.figure(figsize=(2, 1)), 'Nothing > all.')",
        outputs=[],
    )
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    notebooks.execute(tmp_path / "lesson.ipynb")
    assert notebooks.problems(tmp_path / "lesson.ipynb") == []
    _, output = nbformat.read(tmp_path / "lesson.ipynb", as_version=4).cells[1].outputs
    assert 'alt="Nothing &gt; all."' in output.data["text/html"] and output.data["text/plain"] == "Nothing > all."
    assert (tmp_path / "pictures" / "lesson.png").read_bytes().startswith(b"\x89PNG")


def test_execute_keeps_nothing_of_a_stand_in(tmp_path):
    notebook = good_notebook()
    notebook.cells[1].update(source="print('*** NOT MNIST: no network')", outputs=[])
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    before = (tmp_path / "lesson.ipynb").read_bytes()
    with pytest.raises(RuntimeError, match="ran on a stand-in"):
        notebooks.execute(tmp_path / "lesson.ipynb")
    assert (tmp_path / "lesson.ipynb").read_bytes() == before


WORKED_IN = {
    "an answer": lambda cells: cells[1].update(source="print(1 + 0)"),
    "run again": lambda cells: cells[1].update(execution_count=4),
    "other outputs": lambda cells: cells[1].update(outputs=[]),
    "another cell": lambda cells: cells.append(new_code_cell("print(2)", id="c")),
}


@pytest.mark.parametrize("kind", WORKED_IN)
def test_a_notebook_that_somebody_has_worked_in_is_not_the_published_one(tmp_path, monkeypatch, kind):
    monkeypatch.delenv("AECOURSE_AUTHOR", raising=False)
    notebook = good_notebook()
    notebook.metadata["aecourse"]["outputs"] = notebooks.outputs_fingerprint(notebook)
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    assert notebooks.published(tmp_path / "lesson.ipynb")
    WORKED_IN[kind](notebook.cells)
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    assert not notebooks.published(tmp_path / "lesson.ipynb")
    monkeypatch.setenv("AECOURSE_AUTHOR", "1")
    assert notebooks.published(tmp_path / "lesson.ipynb"), "authors hear of it"
