"""The virtual environment of the programs that so3md is compared with."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path

DIRECTORY = Path(__file__).parent / ".venv"
# One after the other, because the second would else be free to pick another PyTorch.
REQUIREMENTS = (["torch==2.13.0"], ["so3krates-torch==0.2.1"], ["vesin==0.6.2", "matscipy==1.3.1"])


def peer_python() -> str:
    """Python of an environment that has the peers; makes it if it is not there (once, some minutes)."""
    python = DIRECTORY / "bin" / "python"
    installed, wanted = DIRECTORY / "complete", json.dumps(REQUIREMENTS)
    if not installed.exists() or installed.read_text() != wanted:
        print(f"making the environment of the programs to compare with in {DIRECTORY}")
        if not installed.exists():
            venv.create(DIRECTORY, with_pip=True, clear=True)
        for requirement in REQUIREMENTS:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirement], check=True)
        installed.write_text(wanted)
    return str(python)


def peer_versions(*names: str) -> dict[str, str]:
    """Versions of packages of the environment, by name."""
    code = "import sys; from importlib.metadata import version; print(*(version(name) for name in sys.argv[1:]))"
    run = subprocess.run([peer_python(), "-c", code, *names], check=True, capture_output=True, text=True)
    return dict(zip(names, run.stdout.split(), strict=True))
