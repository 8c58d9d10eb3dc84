"""The virtual environment of the program that so3md is compared with."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

DIRECTORY = Path(__file__).parent / ".venv"
# Two steps, because the second would else be free to pick another PyTorch.
REQUIREMENTS = (["torch==2.13.0"], ["so3krates-torch==0.2.1"])


def peer_python() -> str:
    """Python of an environment that has so3krates-torch; makes it if it is not there (once, some minutes)."""
    python = DIRECTORY / "bin" / "python"
    complete = DIRECTORY / "complete"
    if not complete.exists():
        print(f"making the environment of so3krates-torch in {DIRECTORY}")
        venv.create(DIRECTORY, with_pip=True, clear=True)
        for requirement in REQUIREMENTS:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirement], check=True)
        complete.touch()
    return str(python)


def peer_versions() -> dict[str, str]:
    """Versions of the packages that matter, by name."""
    code = "from importlib.metadata import version; print(*(version(n) for n in ('so3krates-torch', 'torch')))"
    run = subprocess.run([peer_python(), "-c", code], check=True, capture_output=True, text=True)
    return dict(zip(("so3krates-torch", "torch"), run.stdout.split(), strict=True))
