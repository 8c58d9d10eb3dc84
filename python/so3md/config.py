"""Where the library for C and C++ lies: `python -m so3md.config --cmake-dir` and others (docs/library.md)."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

#: The folder with include/ and lib/.
PREFIX = Path(__file__).parent.resolve()


def library_path() -> Path:
    """The shared library. Raises FileNotFoundError where it was not built."""
    found = sorted((PREFIX / "lib").glob("libso3md.*"))
    if not found:
        raise FileNotFoundError(
            f"there is no libso3md in {PREFIX / 'lib'}: this so3md was installed without its C library "
            "(SO3MD_LIBRARY=OFF); install it again with it"
        )
    return found[0]


def answers() -> dict[str, str]:
    """What each option prints. Raises FileNotFoundError where there is no library."""
    library = library_path()
    return {
        "prefix": str(PREFIX),
        "cmake-dir": str(PREFIX / "lib" / "cmake" / "so3md"),
        "include-dir": str(PREFIX / "include"),
        "library": str(library),
        "cflags": shlex.quote(f"-I{PREFIX / 'include'}"),
        "libs": shlex.join([str(library), f"-Wl,-rpath,{library.parent}"]),
    }


HELP = {
    "prefix": "for CMAKE_PREFIX_PATH",
    "cmake-dir": "for so3md_DIR of find_package(so3md)",
    "include-dir": "the folder of so3md/so3md.h",
    "library": "the shared library",
    "cflags": "options for the compiler",
    "libs": "options for the linker",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is asked for, one line each."""
    parser = argparse.ArgumentParser(
        prog="python -m so3md.config", description="Where the library of so3md for programs in C and C++ lies."
    )
    for name, text in HELP.items():
        parser.add_argument(f"--{name}", action="append_const", const=name, dest="names", help=text)
    names = parser.parse_args(arguments).names
    if not names:
        parser.error(f"expected one or more of {', '.join('--' + name for name in HELP)}")
    try:
        found = answers()
    except FileNotFoundError as error:
        parser.error(str(error))
    for name in names:
        print(found[name])


if __name__ == "__main__":
    main()
