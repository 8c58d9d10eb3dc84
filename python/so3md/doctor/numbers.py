"""Whether the numbers are right here: the water that ships with so3md against those of the reference model."""

from __future__ import annotations

import time
from collections.abc import Iterator

from so3md.doctor.finding import BROKEN, OK, Finding

#: Of the example "water" (192 atoms, periodic) with SO3LR: energy (eV) and root mean square of the components of forces
#: (eV/A), by the reference model (so3md.reference) in float64.
ENERGY = -31772.234732300563
FORCES = 0.7897775596297276

#: Largest differences that rounding leaves, as published (docs/trust.md): of the energy (eV per atom), forces (eV/A).
BOUNDS = {"double": (1e-8, 1e-8), "mixed": (1e-5, 1e-3)}


def findings() -> Iterator[Finding]:
    """Findings on evaluations in each precision."""
    for precision in BOUNDS:
        yield _evaluation(precision)


def _evaluation(precision: str) -> Finding:
    topic = f"numbers, {precision}"
    begin = time.perf_counter()
    try:
        energy, forces, atoms = _water(precision)
    except Exception as error:  # whatever is wrong here
        text = f"water cannot be evaluated ({' '.join(str(error).split())})"
        return Finding(topic, BROKEN, text, "see the lines above, or install so3md again", needed=True)
    seconds = time.perf_counter() - begin
    of_energy, of_forces = abs(energy - ENERGY) / atoms, abs(forces - FORCES)
    text = f"energies of water differ from the stored ones by {of_energy:.1e} eV/atom, forces by {of_forces:.1e} eV/A"
    bounds = BOUNDS[precision]
    if of_energy <= bounds[0] and of_forces <= bounds[1]:  # also false for nan
        return Finding(topic, OK, f"{text} ({seconds:.2f} s)", needed=True)
    advice = (
        f"do not use it: expected at most {bounds[0]:g} eV/atom and {bounds[1]:g} eV/A. Install so3md again; try "
        "SO3MD_INSTRUCTION_SET=portable; report it with the output of `so3md --version`"
    )
    return Finding(topic, BROKEN, text, advice, needed=True)


def _water(precision: str) -> tuple[float, float, int]:
    """Energy (eV), root mean square of the components of forces (eV/A) and number of atoms."""
    import numpy as np

    from so3md.calculator import So3kratesCalculator
    from so3md.loading import MODEL_DIRECTORY, MODEL_SUFFIX
    from so3md.structures import read_structure

    atoms = read_structure("water")
    model = str(MODEL_DIRECTORY / f"so3lr{MODEL_SUFFIX}")  # whatever SO3MD_MODEL_PATH has under that name
    atoms.calc = So3kratesCalculator(model, precision=precision)
    forces = atoms.get_forces()
    return float(atoms.get_potential_energy()), float(np.sqrt(np.mean(forces**2))), len(atoms)
