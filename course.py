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
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "aecourse-is-installed"
BEGUN = VENV / "aecourse-is-being-installed"

COMMANDS = {
    "lab": ["jupyterlab", "--LabApp.default_url=/lab/tree/notebooks/01_autoencoder.ipynb"],
    "test": ["pytest", "--nbmake", "--numprocesses=2", "--dist=worksteal"],
    "bench": ["benchmarks.training"],
    "execute": ["tools.notebooks", "execute"],
}


def set_up():
    """Make .venv complete; at once if it already is.

    The stamp is written last, so that an interrupted first run is finished by the next. It holds
    what was installed and where: changed requirements are installed on top. An environment that
    was moved, has lost its Python, or was left in the middle of an installation is made anew:
    half a package looks like a whole one to pip and uv. What they downloaded is in their caches.
    """
    wanted = f"{VENV}\n" + (ROOT / "requirements.txt").read_text(encoding="utf-8")
    stamp = STAMP.read_text(encoding="utf-8") if STAMP.is_file() else ""
    if stamp == wanted and PYTHON.exists():
        return
    print("Setting up .venv. On Linux, PyTorch with its GPU libraries takes nearly 6 GB.", flush=True)
    moved = stamp and stamp.splitlines()[0] != str(VENV)
    STAMP.unlink(missing_ok=True)
    try:
        fresh = bool(moved) or BEGUN.exists() or not PYTHON.exists()
        if fresh or not stamp:
            venv.create(VENV, with_pip=True, clear=fresh, symlinks=os.name != "nt")
    except subprocess.CalledProcessError:
        sys.exit("Python could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv")
    BEGUN.touch()
    install = ["install", "-r", str(ROOT / "requirements.txt")]
    if run("pip", "install", "--quiet", "uv") or run("uv", "pip", *install):  # uv is three times as fast
        if run("pip", *install):
            BEGUN.unlink()  # it gave up by itself, as without a network: what was installed before is whole
            sys.exit("The installation failed; the lines above say why. Run the same command again to go on.")
    STAMP.write_text(wanted, encoding="utf-8")
    BEGUN.unlink()


def run(module, *arguments):
    """Run `python -m module` in .venv from the course's folder and return its exit status."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if module == "pytest":  # two workers share the cores; threads beyond that would wait for each other
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    return subprocess.call([str(PYTHON), "-m", module, *arguments], cwd=ROOT, env=environment)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    if sys.version_info < (3, 10):
        sys.exit(f"The course needs Python 3.10 or newer; this is {sys.version.split()[0]}.")
    try:
        set_up()
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command: JupyterLab asks, pytest reports
        sys.exit(run(*COMMANDS[sys.argv[1]], *sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where this one stopped.")
