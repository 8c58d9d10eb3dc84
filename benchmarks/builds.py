"""Two builds of the engine side by side, in turns: how much longer an evaluation takes with one than with the other.

    python benchmarks/builds.py build/gcc/site build/clang/site
    python benchmarks/builds.py build/gcc/site build/clang/site --output benchmarks/results/compilers.json

Each folder holds a package `so3md` with its own module (docs/developer_guide.md, "Clang"). One thread, 192 atoms of
water; CPU time, so that a busy machine disturbs it little, and turns in alternating order. SO3MD_INSTRUCTION_SET
chooses the kernels. Prints the medians, and the median of the ratios of neighbouring turns with its standard error and
their quartiles; a host that others share disturbs single turns by a tenth, so that a per cent takes many (--turns).
With --output, writes them with the machine's name and what SITE/so3md/_engine.*.so says of its compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import turns
from machine import describe_machine

ATOMS = 192


def worker(precision: str) -> None:
    """Energies and forces of water, as often as asked for."""
    from ase.io import read

    from so3md import So3kratesCalculator
    from so3md.loading import model_path

    atoms = read(model_path("so3lr").parent.parent / "structures" / "water_64.xyz")
    calculator = So3kratesCalculator(precision=precision, threads=1)

    def evaluate() -> None:
        atoms.positions += 1e-6  # else the calculator remembers
        calculator.get_property("forces", atoms)

    turns.serve(evaluate, len(atoms))


def start(site: str, precision: str) -> turns.Side:
    """A worker with the package of a folder."""
    path = os.path.abspath(site)
    if not os.path.isdir(os.path.join(path, "so3md")):
        sys.exit(f"{site}: expected a folder with the package so3md in it")
    return turns.start([sys.executable, __file__, "--worker", precision], site, {"PYTHONPATH": path})


def compare(sites: list[str], precision: str, number: int) -> dict[str, Any]:
    """Both builds in one precision."""
    return {"precision": precision, **turns.compare([start(site, precision) for site in sites], ATOMS, number)}


def compiler(site: str) -> str:
    """Name and version of the compiler, which it leaves in what it makes."""
    module = next(Path(site, "so3md").glob("_engine*.so")).read_bytes()
    names = re.findall(rb"(?:Debian |Ubuntu )?(?:clang version|GCC: \([^)]*\)) [0-9.]+", module)
    clang = [name for name in names if b"clang" in name]  # start-up files beside it are of GCC
    return (clang or names)[0].decode() if names else "unknown"


def main() -> None:
    """Compare in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", nargs=2, metavar="SITE")
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    machine = describe_machine()
    rows = []
    for precision in ("mixed", "double"):
        row = compare(options.sites, precision, options.turns)
        print(f"{precision}: {turns.line(row)}", flush=True)
        rows.append(row)
    if options.output:
        builds = [compiler(site) for site in options.sites]
        options.output.write_text(json.dumps({"machine": machine, "builds": builds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2])
    else:
        main()
