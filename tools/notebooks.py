"""Notebooks as files: run them and keep their outputs, solve their exercises, find what is wrong with them.

python3 course.py execute [notebook ...]     run on the full data and keep the outputs; all of them by default
"""

import base64
import hashlib
import json
import os
import re
import sys
import warnings
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
LESSONS = [ROOT / name for name in re.findall(r'"(notebooks/.+\.ipynb)"', (ROOT / "pyproject.toml").read_text("utf-8"))]
EXERCISE = re.compile(r'^@exercise\("(\d+[a-z]?\.\d+)"\)', re.MULTILINE)
BANNED_TAGS = {"raises-exception", "skip-execution"}
PATHS = re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|Users|work|var|opt|mnt|content|private)/|[A-Z]:\\)[\w.-]+")
PNG = re.compile(r'<img [^>]*src="data:image/png;base64,([^"]+)"')
MAX_LINES, MAX_BYTES = 30, 1_500_000


def code_cells(notebook):
    """The code cells that hold code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def fingerprint(notebook):
    """A digest of all code. Kept with the outputs, it tells whether they are older than the code."""
    return hashlib.sha256("\0".join(cell.source for cell in code_cells(notebook)).encode()).hexdigest()[:16]


def outputs_fingerprint(notebook):
    """A digest of all outputs, and of the order in which cells were run."""
    outputs = [[cell.execution_count, cell.outputs] for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]


def published(path):
    """A lesson's notebook if it is as `execute` left it; None if somebody has worked in it since, or it is not there.

    With AECOURSE_AUTHOR=1, as in .ci/run, it counts as published whatever it holds: an author wants to hear of it.
    """
    author = bool(os.environ.get("AECOURSE_AUTHOR"))
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception:  # not there, or half saved
        if author:
            raise
        return None
    kept = {"outputs_of": fingerprint(notebook), "outputs": outputs_fingerprint(notebook)}
    return notebook if author or notebook.metadata.get("aecourse") == kept else None


def execute(path):
    """Run a notebook from top to bottom on the full data and write it back with its outputs.

    Raises RuntimeError if a dataset had to be replaced by its stand-in: such outputs are not for keeping.
    """
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", coalesce_streams=True, resources=resources).execute()
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)  # timestamps
        if any("*** NOT" in output.get("text", "") for output in cell.outputs):
            raise RuntimeError(f"{path.name} ran on a stand-in. Set AECOURSE_DATA, or run where it can be downloaded.")
        if "cover" in cell.metadata.get("tags", []):  # the lesson's picture in the README
            pages = (output.get("data", {}).get("text/html", "") for output in cell.outputs)
            picture = next(match[1] for page in pages if (match := PNG.search(page)))
            (path.parent / "pictures").mkdir(exist_ok=True)
            (path.parent / "pictures" / f"{path.stem}.png").write_bytes(base64.b64decode(picture))
    notebook.metadata["aecourse"] = {"outputs_of": fingerprint(notebook), "outputs": outputs_fingerprint(notebook)}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def solve(notebook):
    """Replace every exercise by the course's own solution, in place."""
    from aecourse.exercises import find
    from aecourse.exercises.checks import Prediction

    for cell in code_cells(notebook):
        if match := EXERCISE.search(cell.source):
            task = find(match[1])
            if isinstance(task, Prediction):
                cell.source = re.sub(r"\.\.\.  # .*", task.source(), cell.source)
            else:
                cell.source = f"{match[0]}\n{task.source()}"


def problems(path):
    """What is wrong with a notebook as a file: a list of sentences, empty if all is well."""
    try:
        text = path.read_text(encoding="utf-8")
        ids = [cell.get("id") for cell in json.loads(text)["cells"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat mends ids as it reads, and says so
            notebook = nbformat.reads(text, as_version=4)
            nbformat.validate(notebook)
    except Exception as error:  # whatever is said of a file that is no notebook
        return [f"is no valid notebook: {error}"]
    found = []
    if None in ids or len(set(ids)) < len(ids):
        found.append("has cells without an id of their own")
    if path.stat().st_size > MAX_BYTES:
        found.append(f"has {path.stat().st_size / 1e6:.1f} MB")
    if "widgets" in notebook.metadata:
        found.append("has widget metadata")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("does not ask for the kernel python3")
    if notebook.metadata.get("accelerator") != "GPU":
        found.append("does not ask Colab for a GPU")
    if notebook.metadata.get("execution", {}).get("allow_errors"):
        found.append("allows errors")
    cells = code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("was not run once from top to bottom")
    if notebook.metadata.get("aecourse", {}).get("outputs_of") != fingerprint(notebook):
        found.append("has outputs older than its code: python3 course.py execute")
    for cell in notebook.cells:
        found += [f"cell {cell.get('id')} {problem}" for problem in _cell_problems(cell)]
    return found


def _cell_problems(cell):
    for tag in BANNED_TAGS & set(cell.metadata.get("tags", [])):
        yield f"has the tag {tag}"
    if cell.cell_type != "code":
        return
    lines = [line for line in cell.source.splitlines() if line.strip()]
    if len(lines) > MAX_LINES:
        yield f"has {len(lines)} lines of code"
    if any(line.lstrip().startswith(("!", "%pip", "%conda", "%%")) for line in lines):
        yield "has a shell command or a magic, whose failure nbmake does not see"
    if "ipywidgets" in cell.source or "tqdm.auto" in cell.source or "tqdm.notebook" in cell.source:
        yield "uses ipywidgets"
    if "aecourse.exercises.lesson" in cell.source:
        yield "imports from a file of exercises"
    if "execution" in cell.metadata:
        yield "keeps timestamps"
    for output in cell.outputs:
        text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
        if output.output_type == "error":
            yield f"ends in an error: {output.ename}"
        if output.get("name") == "stderr" or "Warning" in text:
            yield "has a warning in its output"
        if match := PATHS.search(text):
            yield f"has an absolute path in its output: {match[0]}"
        data = output.get("data", {})
        figures = re.findall(r"<(?:img|svg)\b[^>]*>", str(data.get("text/html", "")))
        # What stands beside the image, in its metadata, JupyterLab does not bring into the page.
        if any(kind.startswith("image/") for kind in data) or not all(re.search(r'\balt="[^"]+"', f) for f in figures):
            yield "has a figure without a description in the page: use aecourse.plots.show"


if __name__ == "__main__":
    if sys.argv[1:2] != ["execute"]:
        sys.exit(__doc__)
    os.environ.pop("AECOURSE_EXERCISES", None)
    for name in sys.argv[2:] or LESSONS:
        print(f"running {Path(name).name}", flush=True)
        execute(Path(name).resolve())
