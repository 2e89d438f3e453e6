"""The course's commands, the same on Linux, macOS and Windows.

    python3 course.py lab       open lesson 1 in JupyterLab
    python3 course.py test      run every test and every notebook
    python3 course.py bench     time the training loop against the usual tutorial loop
    python3 course.py execute   run the notebooks and keep their outputs (for authors)

The first call makes a virtual environment in .venv and installs requirements.txt
into it; later calls find it there and need no network. Whatever follows the command
is passed on: `python3 course.py lab --no-browser`, `python3 course.py test -k data`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 10):
    sys.exit(f"The course needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}.")

sys.path.insert(0, str(Path(__file__).resolve().parent))  # not there under python -P or -I
from tools.install import PYTHON, ROOT, VENV, clean, set_up

COMMANDS = {
    "lab": ["jupyterlab", "--LabApp.default_url=/lab/tree/notebooks/01_autoencoder.ipynb"],
    "test": ["pytest", "-c", "pyproject.toml", "--nbmake", "--dist=worksteal"],
    "bench": ["benchmarks.training"],
    "execute": ["tools.notebooks", "execute"],
}
GB_PER_WORKER = 3  # what a worker of the tests takes


def cores():
    """How many cores this process may use, by its affinity and by the limit of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, *period = limits("cpu.max")
    return int(max(1, min(count, quota // (period or [1])[0])))


def memory():
    """GB of memory of this machine, or of its container; a small laptop's where Python cannot tell, as on Windows."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8e9
    return min(installed, *limits("memory.max")) / 1e9


def limits(name):
    """The numbers in a file of Linux's control groups; infinity where there is no limit."""
    try:
        return [float(word) for word in Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()]
    except (OSError, ValueError):  # no such file, or "max"
        return [float("inf")]


def run(module, *arguments):
    """Run `python -m module` in .venv from the course's folder and return its exit status."""
    ours = {"VIRTUAL_ENV": str(VENV), "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PATH": ""}
    environment = {**clean(), **ours}  # PYTHONPATH: a notebook elsewhere that JupyterLab opens finds the package, too
    if module == "pytest":  # workers share the cores; threads beyond that would wait for each other
        workers = int(max(1, min(cores(), memory() // GB_PER_WORKER, 4)))
        arguments = [f"--numprocesses={workers}", *arguments]
        environment.setdefault("OMP_NUM_THREADS", str(cores() // workers))
    return subprocess.call([str(PYTHON), "-m", module, *arguments], cwd=ROOT, env=environment)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    if sys.stdout:
        sys.stdout.reconfigure(errors="replace")  # a console may lack letters of a folder's name
    try:
        set_up()
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command: JupyterLab asks, pytest reports
        sys.exit(run(*COMMANDS[sys.argv[1]], *sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where this one stopped.")
