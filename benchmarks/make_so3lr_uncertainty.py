"""Gives the shipped SO3LR a last-layer distance from structures that this package makes.

    python benchmarks/make_so3lr_uncertainty.py --output so3lr-with-distance.safetensors

The training set of SO3LR is not here. What stands in its place are molecules, ions, dimers, clusters and boxes of
liquids (student_structures.py), each as it is and displaced at random. The result is a distance from these, without a
unit and not calibrated: 1 is what they have on average. It says nothing of errors. Needs RDKit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from student_structures import make_structures, small_molecules

from so3md import So3kratesCalculator
from so3md.last_layer import fit
from so3md.loading import model_path
from so3md.model_file import ModelFile

_DISPLACEMENTS = (0.0, 0.03, 0.08)  # A, of each coordinate: from a minimum to some 600 K


def displaced(structures: list[Atoms], seed: int) -> Iterator[Atoms]:
    """Each structure, once for each displacement."""
    rng = np.random.default_rng(seed)
    for atoms in structures:
        for size in _DISPLACEMENTS:
            other = atoms.copy()
            other.positions += size * rng.standard_normal(atoms.positions.shape)
            yield other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--small", action="store_true", help="the molecules of ASE alone: quick, and without RDKit")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.small:
        structures = list(small_molecules().values())
    else:
        structures = [atoms for _, _, atoms in make_structures(So3kratesCalculator(), options.seed)]
    file = ModelFile.read(model_path("so3lr"))
    file.uncertainty = fit(file, list(displaced(structures, options.seed)))
    file.uncertainty.origin |= {"structures_of": "benchmarks/student_structures.py", "seed": options.seed}
    file.write(options.output)
    print(f"{options.output}: {file.uncertainty.origin}")


if __name__ == "__main__":
    main()
