"""A step with a model of the second generation of SO3LR beside one of the first of the same size, in turns.

    python benchmarks/generations.py                        # writes results/generations.json
    python benchmarks/generations.py --options              # and what each option takes; writes nothing

The first generation is SO3LR; the second has its sizes, degrees, cutoffs and elements, every option of the second
generation but repeated degrees, and random weights, which take no other time than trained ones. Energies and forces of
192 atoms of liquid water, one thread, in `mixed` and `double`. Both take turns as two builds do (benchmarks/builds.py).
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import turns
from machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "generations.json"
ATOMS = 192
LR_CUTOFF = 12.0  # A

#: What differs in the second generation, in the order of docs/so3lr2.md.
OPTIONS: dict[str, dict[str, Any]] = {
    "rms_norm": {"rms_norm": True},
    "normalize_query_key": {"normalize_query_key": True},
    "residual_scalars": {"residual_scalars": True},
    "hirshfeld_head": {"hirshfeld_head": {"type": "simple", "hidden": 64}},
    "c6_head": {"c6_head": {"hidden": 64}},
    "repulsion": {"zbl": None, "repulsion": {"type": "nlh", "switch_on": 0.0, "switch_off": 1.5}},
}


def worker(model: str, precision: str) -> None:
    """Energies and forces of water with a model, as often as asked for."""
    from so3md import So3kratesCalculator
    from so3md.structures import read_structure

    atoms = read_structure("water")
    calculator = So3kratesCalculator(model, precision=precision, threads=1, lr_cutoff=LR_CUTOFF)

    def evaluate() -> None:
        atoms.positions += 1e-6  # else the calculator remembers
        calculator.get_property("forces", atoms)

    turns.serve(evaluate, len(atoms))


def write_model(path: Path, changes: dict[str, Any]) -> None:
    """A model with the hyperparameters of SO3LR but for some, and random weights."""
    from so3md.loading import model_path
    from so3md.model_file import ModelFile
    from so3md.reference.initial import new_model

    original = ModelFile.read(model_path("so3lr"))
    new_model({**copy.deepcopy(original.hyperparameters), **changes}, original.elements).write(path)


def compare(name: str, changes: dict[str, Any], precision: str, number: int) -> dict[str, Any]:
    """SO3LR and a model with these changes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "second.safetensors"
        write_model(path, changes)
        sides = [
            turns.start([sys.executable, __file__, "--worker", model, precision], model)
            for model in ("so3lr", str(path))
        ]
        row = {"options": name, "precision": precision, **turns.compare(sides, ATOMS, number)}
    print(f"{name}, {precision}: {turns.line(row)}", flush=True)
    return row


def main() -> None:
    """Compare all options together in both precisions, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine = describe_machine()
    every = {key: value for changes in OPTIONS.values() for key, value in changes.items()}
    rows = [compare("all", every, precision, options.turns) for precision in ("mixed", "double")]
    if options.options:
        for name, changes in {"none": {}, **OPTIONS}.items():
            compare(name, changes, "mixed", options.turns)
        return
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "atoms": ATOMS,
        "rows": rows,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
