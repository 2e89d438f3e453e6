"""course.py and tools/install.py on machines that are not ours: half made, redirected, full, small, offline.

The packages are tiny wheels made here, on an index served from this machine; pip and the environments are real.
"""

import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
PACKAGES = [
    "torch",
    "torchvision",
    "filelock",
    "jupyterlab",
    "matplotlib",
    "nbmake",
    "seaborn",
    "sklearn",
    "tqdm",
    "xdist",
]


def wheel(folder, name, version, code=""):
    """A package of one module, as a wheel on a simple index."""
    info = f"{name}-{version}.dist-info"
    (folder / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", code)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server with two indexes: /simple, where torch is large, and /cpu, where it is small."""
    root = tmp_path_factory.mktemp("index")
    for name in PACKAGES:
        wheel(root / "simple", name, "3.0" if name == "torch" else "1.0")
    for name in ("torch", "torchvision"):
        wheel(root / "cpu", name, "2.9+cpu")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An environment that has pip only; copied, it serves as a new one."""
    venv.create(tmp_path_factory.mktemp("empty") / ".venv", with_pip=True, symlinks=os.name != "nt")
    return tmp_path_factory.getbasetemp() / "empty0" / ".venv"


@pytest.fixture
def course(tmp_path, monkeypatch, server, empty):
    """tools/install.py of a course in a folder with a space in its name; `cleared` says how .venv was made."""
    root = tmp_path / "a course"
    (root / "tools").mkdir(parents=True)
    shutil.copy(HERE / "tools" / "install.py", root / "tools")
    (root / "requirements.txt").write_text("# what it needs\n" + "".join(f"{name}>=0.5\n" for name in PACKAGES))
    spec = importlib.util.spec_from_file_location("install_under_test", root / "tools" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.CPU_INDEX, module.cleared = f"{server}/cpu", []

    def create(folder, clear, **options):
        module.cleared.append(clear)
        if clear:
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            shutil.copytree(empty, folder, symlinks=True)

    monkeypatch.setattr(module.venv, "create", create)
    monkeypatch.setattr(module, "needs_gpu_libraries", lambda: True)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    return module


def installed(course, name="torch"):
    """The version of a package in the course's .venv."""
    ask = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([course.PYTHON, "-I", "-c", ask], capture_output=True, text=True).stdout.strip()


def test_first_run_installs_and_the_second_does_nothing(course, monkeypatch, capfd):
    course.set_up()
    printed = capfd.readouterr().out
    assert installed(course) == "3.0" and "GB to download" in printed and "GB on disk" in printed
    assert not (course.VENV / "tmp").exists() and not course.BEGUN.exists()
    monkeypatch.setattr(course.subprocess, "Popen", lambda *_, **__: pytest.fail("it runs something"))
    course.set_up()


VARIABLES = {"PIP_USER": "1", "PIP_TARGET": ".", "PIP_PREFIX": ".", "PIP_ROOT": ".", "PIP_PYTHON": "./python"}
VARIABLES |= {"PIP_DRY_RUN": "1", "PIP_REQUIRE_HASHES": "1", "PIP_NO_BINARY": ":all:", "PIP_ISOLATED": "1"}
VARIABLES |= {"UV_PYTHON": "3.8", "UV_SYSTEM_PYTHON": "1", "PYTHONPATH": ".", "PYTHONUSERBASE": ".", "VIRTUAL_ENV": "."}
FILE = "[install]\nuser = true\n[global]\ntarget = {elsewhere}\ndry-run = true\nindex-url = {server}/simple\n"


@pytest.mark.parametrize("told", ["by variables", "by a file"])
def test_no_setting_sends_the_installation_elsewhere(course, told, tmp_path, monkeypatch, server):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(elsewhere)
    if told == "by a file":
        system = Path("/etc/pip.conf")  # read whatever the environment says
        if system.exists() and any(word in system.read_text() for word in ("index", "links", "constraint")):
            pytest.skip("this machine's own sources would be in play as well")
        for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "APPDATA", "PROGRAMDATA", "USERPROFILE"):
            monkeypatch.setenv(variable, str(tmp_path))
        monkeypatch.delenv("PIP_INDEX_URL")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        (tmp_path / "pip.conf").write_text(FILE.format(elsewhere=elsewhere, server=server))
    else:
        for name, value in VARIABLES.items():
            monkeypatch.setenv(name, value.replace(".", str(elsewhere)) if value.startswith(".") else value)
    course.set_up()
    assert installed(course) == "3.0" and [path.name for path in elsewhere.iterdir()] == ["pip.py"]


def test_index_and_constraint_are_honoured(course, tmp_path, monkeypatch):
    wheel(tmp_path, "torch", "3.5")
    (tmp_path / "constraint.txt").write_text("torch<3.2\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    course.set_up()
    assert installed(course) == "3.5"
    shutil.rmtree(course.VENV)
    monkeypatch.setenv("PIP_CONSTRAINT", "constraint.txt")  # as seen from where the reader is
    course.set_up()
    assert installed(course) == "3.0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the build with GPU libraries is Linux's")
def test_linux_without_a_gpu_gets_the_cpu_build_where_its_index_answers(course, monkeypatch, server, capfd):
    wants_cpu_build = course.wants_cpu_build
    monkeypatch.setattr(course, "wants_cpu_build", lambda sources: wants_cpu_build({}))  # pip has no index of its own
    monkeypatch.setattr(course, "needs_gpu_libraries", lambda: False)
    course.set_up()
    assert installed(course) == "2.9+cpu" and installed(course, "jupyterlab") == "1.0"
    small = capfd.readouterr().out
    shutil.rmtree(course.VENV)
    course.CPU_INDEX = f"{server}/nothing"
    course.set_up()
    assert installed(course) == "3.0" and small.split("GB")[0] != capfd.readouterr().out.split("GB")[0]


@pytest.mark.parametrize("index", ["index-url", "no-index"])
def test_a_configured_index_is_the_only_one_asked(course, monkeypatch, index):
    monkeypatch.setattr(course, "needs_gpu_libraries", lambda: False)
    assert not course.wants_cpu_build({index: "1"})


def test_blank_settings_and_those_switched_off_count_as_none(course, monkeypatch):
    course.venv.create(course.VENV, clear=False)
    monkeypatch.setenv("PIP_INDEX_URL", "")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    assert not {"index-url", "no-index"} & course.pip_sources().keys()


def test_a_configuration_that_pip_cannot_read_stops_with_its_words(course, monkeypatch, tmp_path):
    course.venv.create(course.VENV, clear=False)
    (tmp_path / "pip.conf").write_text("index-url = https://example.org\n")  # without a section
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(SystemExit, match="cannot read its own configuration"):
        course.pip_sources()


def test_a_cpu_index_that_never_answers_is_given_up(course, monkeypatch):
    def wait(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(course, "needs_gpu_libraries", lambda: False)
    monkeypatch.setattr(course.subprocess, "run", wait)
    assert not course.wants_cpu_build({})


def test_too_little_space_stops_before_the_download(course, monkeypatch, capsys):
    usage = shutil.disk_usage(HERE)._replace(free=int(5e8))
    monkeypatch.setattr(course.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(course, "pip", lambda *_: pytest.fail("it downloads"))
    with pytest.raises(SystemExit, match="too little"):
        course.set_up()
    assert str(course.VENV) in capsys.readouterr().out


def test_network_that_is_down_is_named_and_the_next_run_goes_on(course, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody answers there
        patch.setenv("PIP_RETRIES", "1")
        with pytest.raises(SystemExit, match="network.*The same command goes on"):
            course.set_up()
    assert not course.STAMP.exists()
    course.set_up()
    assert installed(course) == "3.0" and course.cleared == [True, False], "what was installed before is whole"


def test_a_package_that_the_index_lacks_is_named_with_the_machine(course):
    (course.ROOT / "requirements.txt").write_text("torch>=99\n")
    with pytest.raises(SystemExit, match=r"no torch for this machine \(Python .*Trying again does not help"):
        course.set_up()


def test_a_constraint_that_contradicts_is_named(course, tmp_path, monkeypatch):
    (tmp_path / "constraint.txt").write_text("torch<0.1\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraint.txt"))
    with pytest.raises(SystemExit, match="constraint.*Trying again does not help"):
        course.set_up()


SAID = {
    "OSError: [Errno 28] No space left on device": "disk is full",
    "ERROR: Could not install packages: [WinError 112] Es steht zu wenig Speicherplatz zur Verfügung": "disk is full",
    "OSError: [Errno 122] Disk quota exceeded": "disk is full",
    "ERROR: [Errno 13] Permission denied: '/course/.venv'": "cannot be written",
    "ERROR: [WinError 5] Zugriff verweigert": "cannot be written",
    "OSError: [Errno 30] Read-only file system": "cannot be written",
    "WARNING: Retrying (Retry(total=0)) after broken by 'SSLError(CERTIFICATE_VERIFY_FAILED)'": "certificate",
    "ERROR: HTTP error 403 while getting x\n403 Client Error: Forbidden": "refuses",
    "ProxyError('Tunnel connection failed: 407 Proxy Authentication Required')": "refuses",
    "WARNING: Retrying (Retry(total=0)): 'Name…'\nERROR: No matching distribution found for torch": "network",
    "ReadTimeoutError: HTTPSConnectionPool: Read timed out.": "network",
    "ConnectionResetError: [Errno 104] Connection reset by peer": "network",
    "THESE PACKAGES DO NOT MATCH THE HASHES": "network",
    "socket.gaierror: [Errno -3] Temporary failure in name resolution": "network",
    "ERROR: 429 Client Error: Too Many Requests": "network",
    "MemoryError": "memory is full",
    "OSError: [Errno 36] File name too long": "too long",
    "ERROR: Package 'torch' requires a different Python: 3.9.1 not in '>=3.10'": "for this machine",
    "ERROR: No matching distribution found for torch>=2.4": "no torch for this machine",
    "ERROR: Failed building wheel for scikit-learn": "no scikit-learn for this machine",
    "ERROR: Cannot install torch\n  The user requested torch>=2.4\nERROR: ResolutionImpossible": "constraint",
}


@pytest.mark.parametrize("said", SAID)
def test_what_pip_says_is_told_with_what_helps(course, said):
    told = course.reason(said)
    assert SAID[said] in told and ("same command" in told) != ("Trying again does not help" in told)


def test_what_is_not_known_is_not_explained(course):
    assert course.reason("ERROR: something nobody has seen") is None


def test_what_cannot_be_imported_gets_no_stamp(course, tmp_path, monkeypatch):
    wheel(tmp_path, "torch", "4.0", "raise ImportError('libcudart.so.99: no such file')")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "torch"))
    with pytest.raises(SystemExit, match="libcudart"):
        course.set_up()
    assert not course.STAMP.exists()


@pytest.mark.parametrize("moment", ["venv", "pip"])
def test_interrupted_run_is_completed_by_the_next(course, monkeypatch, moment):
    def interrupt(*arguments, **options):
        course.VENV.mkdir(exist_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((course.venv, "create") if moment == "venv" else (course, "pip")), interrupt)
        with pytest.raises(KeyboardInterrupt):
            course.set_up()
    course.set_up()
    assert installed(course) == "3.0" and course.cleared[-1], "half a package would look like a whole one"


def test_changed_requirements_are_installed_on_top(course):
    course.set_up()
    (course.ROOT / "requirements.txt").write_text((course.ROOT / "requirements.txt").read_text() + "# more\n")
    course.set_up()
    assert "# more" in course.STAMP.read_text()
    assert course.cleared == [True], "its own Python may be the one that runs course.py"


@pytest.mark.parametrize("damage", ["moved", "broken"])
def test_moved_or_broken_environment_is_made_anew(course, damage):
    course.set_up()
    if damage == "moved":
        course.STAMP.write_text("/somewhere/else/.venv\ntorch>=2.4\n")
    else:
        course.PYTHON.unlink()
    course.set_up()
    assert installed(course) == "3.0" and course.cleared == [True, True]


def test_a_python_without_venv_is_told_what_to_install(course, monkeypatch):
    def fail(*arguments, **options):
        raise subprocess.CalledProcessError(1, "ensurepip", output="No module named ensurepip")

    monkeypatch.setattr(course.venv, "create", fail)
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        course.set_up()


# course.py itself


@pytest.fixture
def main(monkeypatch):
    """course.py as a module, whose commands are recorded."""
    spec = importlib.util.spec_from_file_location("course_under_test", HERE / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.calls = []
    monkeypatch.setattr(module.subprocess, "call", lambda command, **options: module.calls.append((command, options)))
    return module


@pytest.mark.parametrize(
    "usable, gb, workers, threads", [(1, 16, 1, "1"), (2, 16, 2, "1"), (16, 64, 4, "4"), (8, 4, 1, "8"), (3, 7, 2, "1")]
)
def test_workers_follow_the_cores_and_the_memory_that_the_process_may_use(
    main, monkeypatch, usable, gb, workers, threads
):
    monkeypatch.setattr(main, "cores", lambda: usable)
    monkeypatch.setattr(main, "memory", lambda: gb)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    main.run("pytest", "-k", "data")
    ((command, options),) = main.calls
    assert f"--numprocesses={workers}" in command and command[-2:] == ["-k", "data"]
    assert options["env"]["OMP_NUM_THREADS"] == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_cores_are_those_of_the_process(main):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert main.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    "limit, expected", [([150_000.0, 100_000.0], 1), ([50_000.0, 100_000.0], 1), ([float("inf")], None)]
)
def test_cores_keep_to_the_limit_of_a_container(main, monkeypatch, limit, expected):
    monkeypatch.setattr(main, "limits", lambda name: limit)
    assert main.cores() == expected or expected is None and main.cores() >= 1


def test_commands_run_on_the_courses_python_alone(main, monkeypatch):
    foreign = {
        "PYTHONPATH": "/elsewhere",
        "PYTHONHOME": "/elsewhere",
        "JUPYTER_PATH": "/elsewhere",
        "VIRTUAL_ENV": "/elsewhere",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    main.run("jupyterlab")
    ((command, options),) = main.calls
    assert Path(command[0]) == main.PYTHON
    assert not any(options["env"].get(name) == "/elsewhere" for name in foreign)
    assert options["env"]["PYTHONPATH"] == str(HERE), "a notebook elsewhere finds the package, too"


@pytest.mark.parametrize("options", [[], ["-I"]], ids=["", "-I"])  # -I: the folder of course.py is not on the path
@pytest.mark.parametrize("arguments", [[], ["learn"], ["--help"]])
def test_help_names_the_commands(arguments, options):
    done = subprocess.run([sys.executable, *options, HERE / "course.py", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and "course.py lab" in done.stderr and "course.py test" in done.stderr
