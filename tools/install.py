"""Making .venv complete: what the first call of course.py does. Standard library only."""

import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from ast import literal_eval
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "aecourse-is-installed"
BEGUN = ROOT / ".venv-is-being-installed"
REQUIREMENTS = ROOT / "requirements.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SIZES = (0.4, 1.3), (3, 6)  # GB to download and on disk, measured: without and with GPU libraries
NEEDED = "filelock, jupyterlab, matplotlib, nbmake, seaborn, sklearn, torch, tqdm, xdist"

# What the reader's pip is told about where packages come from is honoured. Whatever else it is told, in its
# configuration files or in PIP_…, is not: a target, a prefix, another Python, --user, --no-deps, --dry-run.
SOURCES = """index-url extra-index-url no-index find-links constraint cert client-cert trusted-host proxy
    timeout default-timeout retries keyring-provider use-feature cache-dir no-cache-dir""".split()

AGAIN = "The same command goes on from here."
NO_USE = "Trying again does not help before that has changed."
REASONS = (  # what pip says when it fails, and what to do. The first that fits; numbers, for Windows translates words
    (r"No space left|Errno 28\b|WinError 112\b|[Qq]uota exceeded|Errno 122\b", "The disk is full. Make room. " + AGAIN),
    (
        r"Permission denied|Errno 13\b|WinError (5|32)\b|Read-only file system|Errno 30\b",
        "A file cannot be written. Is the course in a folder of your own, and no program open that uses .venv? "
        + NO_USE,
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerification",
        "The certificate of the package index is not trusted, as behind some proxies. Tell pip whom to trust: "
        "pip config set global.cert FILE. " + NO_USE,
    ),
    (
        r"\b40[137] (Client|Proxy|Forbidden|Unauthorized)|Tunnel connection failed: 4",
        "The package index or the proxy refuses to serve you: see `pip config list` and HTTPS_PROXY. " + NO_USE,
    ),
    (
        r"Retrying \(|NewConnection|NameResolution|[Tt]imed out|Timeout|unreachable|Connection ?(reset|refused|aborted)"
        r"|Connection(Reset|Refused|Aborted)Error|IncompleteRead|\b5\d\d Server Error|DO NOT MATCH THE HASHES"
        r"|Temporary failure|gaierror|Connection broken|ProtocolError|\b429 ",
        "The network, the proxy or the package index does not answer. Try again when it does. " + AGAIN,
    ),
    (r"MemoryError|\bKilled\b|Errno 12\b", "The memory is full. Close other programs. " + AGAIN),
    (r"File name too long|Errno (36|63)\b", "The path of the course is too long. Move it to a shorter one. " + NO_USE),
    (
        r"ResolutionImpossible|\(constraint\)",
        "Either your pip's constraint (`pip config list`, PIP_CONSTRAINT) contradicts requirements.txt, or its index "
        "has no {package} for this machine ({machine}); the README lists the platforms that are served. " + NO_USE,
    ),
    (
        r"No matching distribution|requires a different Python|[Ff]ailed (building|to build)|exited-with-error"
        r"|not a supported wheel",
        "pip's index has no {package} for this machine ({machine}). The README lists the platforms that are served; "
        "often another Python is enough. Trying again does not help.",
    ),
)


def set_up():
    """Make .venv complete; at once if it already is.

    The stamp is written last, after what the course needs was imported. It holds what was installed and where:
    changed requirements are installed on top. An environment that was moved, has lost its Python, or was left in
    the middle of an installation is made anew: half a package looks like a whole one. pip keeps its downloads.
    """
    wanted = f"{VENV}\n" + REQUIREMENTS.read_text(encoding="utf-8")
    stamp = STAMP.read_text(encoding="utf-8") if STAMP.is_file() else ""
    if stamp == wanted and PYTHON.exists():
        return
    moved = stamp and not stamp.startswith(f"{VENV}\n")
    fresh = bool(moved) or BEGUN.exists() or not PYTHON.exists()
    print("Setting up .venv.", flush=True)
    try:
        BEGUN.touch()
        STAMP.unlink(missing_ok=True)
        if fresh or not stamp:
            venv.create(VENV, with_pip=True, clear=fresh, symlinks=os.name != "nt")
    except (subprocess.CalledProcessError, OSError, UnicodeError) as error:
        said = f"{error}\n{getattr(error, 'output', None) or ''}"
        sys.exit(reason(said) or f"{said}\nPython could not make .venv. On Debian and Ubuntu: apt install python3-venv")
    sources = pip_sources()
    cpu_build = wants_cpu_build(sources)
    if fresh or not stamp:
        require_space(*SIZES[sys.platform == "linux" and not cpu_build])
    if cpu_build:
        torch = [
            line
            for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()
            if re.match(r"torch(vision)?\W", line)
        ]
        cpu = {name: value for name, value in sources.items() if name not in ("extra-index-url", "find-links")}
        pip(cpu | {"index-url": CPU_INDEX}, "install", *torch)  # if it fails, the next line installs another build
    failed, said = pip(sources, "install", "-r", str(REQUIREMENTS))
    if failed:
        BEGUN.unlink()  # pip gave up by itself, as without a network: what was installed before is whole
        sys.exit(reason(said) or f"The installation failed; the lines above say why. {AGAIN}")
    check = subprocess.run([PYTHON, "-I", "-c", f"import {NEEDED}"], env=clean(), stderr=subprocess.PIPE, text=True)
    BEGUN.unlink()
    if check.returncode:
        sys.exit(f"{check.stderr}\nEverything was installed, but cannot be imported; the lines above say why. {NO_USE}")
    STAMP.write_text(wanted, encoding="utf-8")


def clean():
    """The environment variables without those that lead Python or pip into another environment."""
    foreign = re.compile("(PIP|UV|CONDA)_.*|VIRTUAL_ENV.*|PYTHON(PATH|HOME|EXECUTABLE|USERBASE|PLATLIBDIR)|__PYVENV.*")
    return {name: value for name, value in os.environ.items() if not foreign.fullmatch(name)}


def pip_sources():
    """Where the reader's pip takes packages from: its SOURCES settings, from its files and from PIP_… variables."""
    files = {name: value for name, value in os.environ.items() if name == "PIP_CONFIG_FILE"}
    command = [PYTHON, "-I", "-m", "pip", "config", "list"]
    done = subprocess.run(command, env=clean() | files, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{done.stderr}\npip cannot read its own configuration; the lines above say why. {NO_USE}")
    listed, found = done.stdout, {}
    for section in ("global", "install"):  # the later goes before the earlier, and a variable before both
        found |= re.findall(rf"^{section}\.([\w-]+)=(.*)$", listed, re.MULTILINE)
    found = {name: literal_eval(found[name]) for name in SOURCES if name in found}
    found |= {name: os.environ[variable(name)] for name in SOURCES if variable(name) in os.environ}
    off = {"no-index": {"0", "false", "no", "off"}}
    return {name: value for name, value in found.items() if value.strip().lower() not in {"", *off.get(name, ())}}


def variable(name):
    """The environment variable that stands for a setting of pip."""
    return "PIP_" + name.upper().replace("-", "_")


def pip(sources, *arguments):
    """Run .venv's pip with these settings and no others. Returns its exit status and what it said of errors."""
    temporary = VENV / "tmp"  # the system's own may be small, and gigabytes pass through
    temporary.mkdir(exist_ok=True)
    environment = clean() | {variable(name): value for name, value in sources.items()}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "TMPDIR": str(temporary)}
    command = [PYTHON, "-I", "-m", "pip", *arguments]
    said = ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stderr:
            sys.stderr.write(line)
            said += line
    shutil.rmtree(temporary, ignore_errors=True)
    return process.returncode, said


def needs_gpu_libraries():
    """Whether PyTorch's usual build carries GPU libraries that may serve here: on Linux with an NVIDIA driver."""
    drivers = "/proc/driver/nvidia", "/dev/nvidiactl", "/usr/lib/wsl/lib/nvidia-smi"
    return bool(shutil.which("nvidia-smi")) or any(map(os.path.exists, drivers))


def wants_cpu_build(sources):
    """Whether to take PyTorch from its index of CPU builds: on Linux without a GPU, unless pip has an index of its own.

    The index is asked in a process of its own, because looking up a name knows no time limit.
    """
    if sys.platform != "linux" or needs_gpu_libraries() or "index-url" in sources or "no-index" in sources:
        return False
    ask = f"import urllib.request as u; u.urlopen('{CPU_INDEX}/torch/', timeout=5)"
    try:
        return subprocess.run([PYTHON, "-I", "-c", ask], stderr=subprocess.DEVNULL, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def require_space(download, disk):
    """Say how much will be downloaded and how much it takes, in GB; exit if the disk has less."""
    free = shutil.disk_usage(VENV).free / 1e9
    print(f"About {download} GB to download, {disk} GB on disk in {VENV} ({free:.1f} GB are free).", flush=True)
    if free < download + disk:  # what is downloaded lies beside what is installed until all is there
        sys.exit(f"That is too little: it takes {download + disk:.1f} GB until it is done. Make room. {AGAIN}")


def reason(said):
    """What to do about a failure of which pip said this; None if nothing is known of it."""
    named = re.search(r"(?:distribution found|building wheel) for ([\w.-]+)|The user requested ([\w.-]+)", said)
    package = named and (named[1] or named[2]) or "ready-made package"
    libc = platform.libc_ver()[0] or "musl" if sys.platform == "linux" else ""
    bits = "64 bit" if sys.maxsize > 2**32 else "32 bit"
    machine = f"Python {platform.python_version()}, {bits}, {platform.system()} {libc} {platform.machine()}"
    advice = next((advice for pattern, advice in REASONS if re.search(pattern, said)), None)
    return advice and advice.format(package=package, machine=" ".join(machine.split()))
