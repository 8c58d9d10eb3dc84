"""Check that object files made for one instruction set export nothing that other code could be linked with.

An inline function that a compiler emits out of line becomes a weak symbol, and of several weak symbols with one name
the linker keeps any. Were std::min emitted in a file compiled for AVX-512, the whole library might call that copy and
die of an illegal instruction on a lesser processor. Functions inside so3md::cpu::<instruction set> have a name of their
own for each set, so they are safe.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# nm's letters for symbols of which the linker keeps one of several: weak functions and data, unique globals.
MERGED_KINDS = {"W", "V", "u"}


def shared_symbols(nm: str, instruction_set: str, objects: Iterable[Path]) -> list[str]:
    """Mergeable symbols that `objects` define outside so3md::cpu::<instruction_set>, one line each."""
    # The mangled form of the namespace: the length of each name stands before it.
    namespace = f"5so3md3cpu{len(instruction_set)}{instruction_set}"
    found = []
    for path in objects:
        listing = subprocess.run([nm, "--defined-only", "--format=posix", str(path)], capture_output=True, text=True)
        if listing.returncode != 0:
            raise SystemExit(f"{nm} cannot read {path}: {listing.stderr.strip()}")
        for line in listing.stdout.splitlines():
            name, kind = line.split()[:2]
            if kind in MERGED_KINDS and not name.startswith("DW.ref.") and namespace not in name:
                found.append(f"{path}: {name}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nm", default="nm", help="the nm program of the compiler")
    parser.add_argument("--instruction-set", required=True, help="namespace that the symbols must be in")
    parser.add_argument("objects", nargs="+", type=Path)
    arguments = parser.parse_args()
    found = shared_symbols(arguments.nm, arguments.instruction_set, arguments.objects)
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print(
            f"{len(found)} symbols may be merged with those of other files; keep what kernels use inside "
            f"so3md::cpu::{arguments.instruction_set} (csrc/cpu/simd.h says how)",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
