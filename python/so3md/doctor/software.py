"""Python, the packages that so3md needs, and those that it can make use of."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from so3md.build_facts import installed_version
from so3md.doctor.finding import BROKEN, OFF, OK, Finding

_LOWEST_PYTHON = (3, 10)


class Package(NamedTuple):
    """A package: pip's name for it and its module, its versions, what it is for, what pip is told to install."""

    name: str
    module: str
    lowest: tuple[int, ...]
    below: tuple[int, ...]
    purpose: str
    install: str


#: As in pyproject.toml, which a test compares.
NEEDED = (
    Package("ase", "ase", (3, 27), (3, 30), "structures and dynamics", "'ase>=3.27,<3.30'"),
    Package("numpy", "numpy", (1, 23), (3,), "arrays", "'numpy>=1.23,<3'"),
    Package("safetensors", "safetensors", (0, 4), (1,), "model files", "'safetensors>=0.4,<1'"),
    Package("click", "click", (8, 1), (9,), "the command line", "'click>=8.1,<9'"),
    Package("rich", "rich", (13,), (16,), "the command line", "'rich>=13,<16'"),
)
OPTIONAL = (
    Package("torch", "torch", (2, 2), (3,), "so3md train, finetune, distill and the reference model", "'.[torch]'"),
    Package("pyyaml", "yaml", (6, 0), (7,), "so3md md --config and training", "'pyyaml>=6.0,<7'"),
    Package("matplotlib", "matplotlib", (3, 6), (4,), "plots", "'matplotlib>=3.6,<4'"),
    Package("MDAnalysis", "MDAnalysis", (2, 7), (3,), "trajectories in DCD and XTC", "'.[trajectories]'"),
    Package("h5py", "h5py", (3, 8), (4,), "trajectories in H5MD", "'.[trajectories]'"),
)


def findings() -> Iterator[Finding]:
    """Findings on Python and packages."""
    found = f"{platform.python_version()} in {sys.prefix}"
    lowest = ".".join(map(str, _LOWEST_PYTHON))
    if sys.version_info >= _LOWEST_PYTHON:
        yield Finding("Python", OK, found, needed=True)
    else:
        yield Finding("Python", BROKEN, found, f"so3md needs Python {lowest} or newer", needed=True)
    for package in NEEDED:
        yield _package(package, needed=True)
    for package in OPTIONAL:
        yield _package(package, needed=False)


def _package(package: Package, needed: bool) -> Finding:
    """Whether it is installed, within its versions, and can be imported."""
    install = f"pip install {package.install}"
    if package.install.startswith("'.["):
        install += " in a checkout of so3md"
    version = installed_version(package.name)
    if version is None:
        text = f"not installed; it is for {package.purpose}"
        return Finding(package.name, BROKEN if needed else OFF, text, install, needed)
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if not package.lowest <= numbers < package.below:
        return Finding(package.name, BROKEN, f"{version}, which so3md was not made for", install, needed)
    try:
        importlib.import_module(package.module)
    except Exception as error:  # what broken installations raise has no end
        text = f"{version}, which cannot be imported ({' '.join(str(error).split())})"
        return Finding(package.name, BROKEN, text, f"{install} --force-reinstall", needed)
    return Finding(package.name, OK, f"{version}, for {package.purpose}", needed=needed)
