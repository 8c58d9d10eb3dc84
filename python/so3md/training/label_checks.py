"""Whether reference values belong together: energies and forces of one structure, and those of structures that are
alike. What is found is physics, not spelling: an energy that changes along a path as no force says."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import find_mic

from so3md.training.sample import Parts, Sample, thinned
from so3md.training.schema import ConfigError
from so3md.training.unit_conversion import ENERGIES, LENGTHS

#: Work of forces and differences of energies are compared over so many pairs of structures, at least and at most.
_FEWEST_PAIRS, _MOST_STRUCTURES = 8, 500
#: Above this correlation, the factor between them is that of the labels and not of the path: of independent numbers,
#: eight pairs have it once in a thousand cases, and the work along a straight path is exact for harmonic motion.
_CORRELATED = 0.9
#: The work along a straight path says more, the shorter the path is: so much of the pairs counts, the closest.
_CLOSEST = 0.25
#: The sign is known sooner than the factor: of right labels the sum of products is positive, even where paths are long.
#: Of labels that mean nothing it is below minus this many roots of the sum of squares in one case of forty.
_SIGNIFICANT = 2.0
#: How far the factor may be from what explains it.
_FACTOR_ERROR = 0.2
#: Energies of one structure are the same up to convergence.
_SAME_ENERGY = 1e-3  # eV for each atom
_SAME_FORCES = 1e-2  # eV/A
#: Root mean square of components: some 1 eV/A at room temperature, and ten times that in strongly distorted molecules.
_LARGE_FORCE = 15.0  # eV/A
_NAMED = 3
#: So many structures, taken evenly, tell whether energies and forces belong together.
_ENOUGH = 20_000


@dataclass
class Work:
    """Differences of energies between structures that are alike, and the work of the forces on the way (eV)."""

    energies: np.ndarray
    work: np.ndarray
    atoms: int  # of each structure

    @property
    def correlation(self) -> float:
        """Cosine of the angle between both, which need no offset."""
        size = np.linalg.norm(self.energies) * np.linalg.norm(self.work)
        return float(self.energies @ self.work / size) if size > 0 else 0.0

    @property
    def significance(self) -> float:
        """The sum of the products of both, over the root of the sum of their squares."""
        products = self.energies * self.work
        size = np.linalg.norm(products)
        return float(products.sum() / size) if size > 0 else 0.0

    @property
    def factor(self) -> float:
        """Energies over work."""
        return float(self.energies @ self.work / (self.work @ self.work))


def check_labels(parts: Parts) -> None:
    """Refuse energies and forces that contradict each other; warn of structures that are there twice, of single atoms,
    and of structures without forces among others. Raises ConfigError, with what to do."""
    training = parts["train"]
    _check_single_atoms(training)
    _warn_of_missing_forces(training)
    _warn_of_copies(parts)
    _warn_of_large_forces(training)
    some = thinned(training, _ENOUGH)
    _check_signs_and_units(some)
    _check_energies_per_atom(some)


# --- energies and forces --------------------------------------------------------------------------------------------


def _check_signs_and_units(samples: Sequence[Sample]) -> None:
    for work in works(samples):
        correlated = abs(work.correlation) >= _CORRELATED
        if not correlated and work.significance > -_SIGNIFICANT:
            continue
        told = (
            f"energies and forces contradict each other: over {len(work.energies)} pairs of structures that are alike, "
            f"energies change by {work.factor:.3g} times the work of the forces, where 1 is expected"
        )
        end = "; if the data are right, set data.check_labels to false"
        if work.factor < 0:
            raise ConfigError(
                f"{told}. The sign is wrong: forces are the negative gradient of the energy, and these look like the "
                f"gradient. Change the sign in the file{end}"
            )
        if work.atoms > 2 and _near(work.factor, 1 / work.atoms):
            raise ConfigError(
                f"{told}, and 1/{work.atoms} is what energies per atom give. Multiply the energies by the number of "
                f"atoms{end}"
            )
        if not _near(work.factor, 1, 0.5):
            raise ConfigError(f"{told}. {_unit_for(work.factor)}{end}")


def _warn_of_large_forces(samples: Sequence[Sample]) -> None:
    """Where energies and forces are in another unit together, nothing contradicts but what is usual."""
    squares, count = 0.0, 0
    for sample in samples:
        if sample.forces is not None:
            squares, count = squares + float(np.sum(np.square(sample.forces))), count + sample.forces.size
    if not count:
        return
    size = float(np.sqrt(squares / count))
    if size > _LARGE_FORCE:
        warnings.warn(
            f"forces are {size:.3g} eV/A in the root mean square, far more than in structures at temperatures that "
            "matter: look at data.units (1 eV is 23.06 kcal/mol and 96.49 kJ/mol)",
            stacklevel=3,
        )


def _unit_for(factor: float) -> str:
    """What may explain a factor between energies and forces."""
    for energy, of_energy in ENERGIES.items():
        if _near(factor * of_energy, 1) and energy != "eV":
            return f"Energies in {energy} and forces in eV/A give that: look at data.units.energy and data.units.forces"
    for name, length in (("Bohr", LENGTHS["Bohr"]), ("nm", LENGTHS["nm"])):
        for energy, of_energy in ENERGIES.items():
            if _near(factor * length / of_energy, 1):
                return f"Forces in {energy}/{name} and energies in eV give that: look at data.units.forces"
    for energy, of_energy in ENERGIES.items():
        if _near(factor / of_energy, 1) and energy != "eV":
            return f"Forces in {energy}/A and energies in eV give that: look at data.units.forces"
    return "Look at data.units and at data.keys: one of both may be in another unit, or of another method"


def _near(value: float, expected: float, error: float = _FACTOR_ERROR) -> bool:
    return abs(np.log(value / expected)) < np.log1p(error)


def works(samples: Sequence[Sample]) -> list[Work]:
    """For each kind of structure (atoms in their order, cell), energies and work between those that are nearest to
    each other."""
    kinds: dict[tuple[bytes, bytes], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.energy is not None and sample.forces is not None and len(sample.structure.numbers) > 1:
            key = sample.structure.numbers.tobytes(), np.round(sample.structure.cell, 6).tobytes()
            kinds[key].append(sample)
    found = []
    for kind in kinds.values():
        chosen = kind[:: max(1, len(kind) // _MOST_STRUCTURES)][:_MOST_STRUCTURES]
        pairs = _nearest_pairs(chosen)
        if len(pairs) >= _FEWEST_PAIRS:
            closest = pairs[: max(_FEWEST_PAIRS, round(_CLOSEST * len(pairs)))]
            values = np.array([_energy_and_work(chosen[i], chosen[j]) for i, j in closest])
            if np.linalg.norm(values[:, 1]) > 0:
                found.append(Work(values[:, 0], values[:, 1], len(chosen[0].structure.numbers)))
    return found


def _nearest_pairs(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Each structure with the one whose distances between atoms are most like its own, the closest first."""
    if len(samples) < 2:
        return []
    first = samples[0].structure.positions
    i, j = np.triu_indices(len(first), 1)
    if len(i) > 500:  # enough to tell structures apart
        i, j = i[:: len(i) // 500], j[:: len(j) // 500]
    rows = np.array([_distances(sample, i, j) for sample in samples])
    pairs: dict[tuple[int, int], float] = {}
    for number, row in enumerate(rows):
        apart = np.linalg.norm(rows - row, axis=1)
        apart[number] = np.inf
        apart[apart < 1e-6] = np.inf  # the same structure once more, which says nothing
        nearest = int(apart.argmin())
        if np.isfinite(apart[nearest]):
            pairs[min(number, nearest), max(number, nearest)] = float(apart[nearest])
    return sorted(pairs, key=lambda pair: (pairs[pair], pair))


def _distances(sample: Sample, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    item = sample.structure
    vectors = item.positions[i] - item.positions[j]
    return find_mic(vectors, item.cell, item.pbc)[1] if np.any(item.pbc) else np.linalg.norm(vectors, axis=1)


def _energy_and_work(one: Sample, other: Sample) -> tuple[float, float]:
    """The difference of energies, and minus the mean force times the way, with the other turned to lie on the one."""
    assert one.energy is not None and other.energy is not None  # noqa: PT018 (for the type checker)
    assert one.forces is not None and other.forces is not None  # noqa: PT018
    start, end, forces = one.structure.positions, other.structure.positions, other.forces
    if np.any(one.structure.pbc):
        way = find_mic(end - start, one.structure.cell, one.structure.pbc)[0]
    else:
        turn = _rotation(end - end.mean(axis=0), start - start.mean(axis=0))
        way = (end - end.mean(axis=0)) @ turn - (start - start.mean(axis=0))
        forces = forces @ turn
    return other.energy - one.energy, -0.5 * float(np.sum((one.forces + forces) * way))


def _rotation(moved: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The rotation (3, 3), to multiply rows by, that brings points closest to others (Kabsch 1976)."""
    u, _, v = np.linalg.svd(moved.T @ fixed)
    turn = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v)) or 1.0])
    return u @ turn @ v


def _check_energies_per_atom(samples: Sequence[Sample]) -> None:
    """Energies of structures of different sizes follow their numbers of atoms, unless they are energies per atom."""
    chosen = [sample for sample in samples if sample.energy is not None]
    elements = sorted({int(z) for sample in chosen for z in sample.structure.numbers})
    counts = np.array([[np.count_nonzero(s.structure.numbers == z) for z in elements] for s in chosen], dtype=float)
    if not chosen or len(np.unique(counts, axis=0)) < len(elements) + 3:
        return  # any energies would fit
    energies, sizes = np.array([sample.energy for sample in chosen], dtype=float), counts.sum(axis=1)
    if sizes.max() < 1.5 * sizes.min():
        return
    total, per_atom = (_misfit(matrix, energies) for matrix in (counts, counts / sizes[:, None]))
    # Of energies that are per atom, those of the larger structures are as large as those of the smaller.
    if per_atom < 0.2 * total:
        raise ConfigError(
            f"energies look like energies per atom: those of structures of {sizes.min():.0f} to {sizes.max():.0f} "
            f"atoms follow the shares of the elements ({per_atom:.2g} eV off) and not the numbers of atoms "
            f"({total:.2g} eV off). Multiply them by the number of atoms; if the data are right, set "
            "data.check_labels to false"
        )


def _misfit(matrix: np.ndarray, energies: np.ndarray) -> float:
    solution = np.linalg.lstsq(matrix, energies, rcond=None)[0]
    return float(np.sqrt(np.mean(np.square(matrix @ solution - energies))))


# --- structures -----------------------------------------------------------------------------------------------------


def _check_single_atoms(samples: Sequence[Sample]) -> None:
    single = [sample for sample in samples if len(sample.structure.numbers) == 1]
    for sample in single:
        forces = sample.forces
        if forces is not None and not np.any(sample.structure.pbc) and np.abs(forces).max() > _SAME_FORCES:
            raise ConfigError(
                f"{sample.origin}: an atom alone has no force, found {np.abs(forces).max():.3g} eV/A; remove it, or "
                "set data.check_labels to false"
            )
    if single:
        symbols = ", ".join(sorted({chemical_symbols[int(sample.structure.numbers[0])] for sample in single}))
        warnings.warn(
            f"single atoms in the training set ({symbols}; {_structures(len(single))}): they say nothing of "
            "forces, and one energy each; as zero of energy, give their energies as reference_energies and leave them "
            "out",
            stacklevel=3,
        )


def _warn_of_missing_forces(samples: Sequence[Sample]) -> None:
    first, count = None, 0
    for sample in samples:
        if sample.forces is None:
            first, count = first or sample, count + 1
    if first is not None and count < len(samples):
        warnings.warn(
            f"{count} of {_structures(len(samples))} of the training set have no forces, {first.origin} "
            "the first: only their energies are learned",
            stacklevel=3,
        )


def _warn_of_copies(parts: Parts) -> None:
    """Structures that are there twice count twice; in two parts, they make errors look smaller than they are."""
    seen: dict[bytes, tuple[str, int]] = {}
    twice, across, other = [], [], []
    for name, samples in parts.items():
        for place, sample in enumerate(samples):
            item = sample.structure
            values = (item.numbers, item.positions, item.cell, item.pbc, item.charge, item.spin)
            digest = hashlib.sha256(repr(item.positions.shape).encode())
            for value in values:
                digest.update(np.ascontiguousarray(value).tobytes())
            part, number = seen.setdefault(digest.digest(), (name, place))
            if (part, number) == (name, place):
                continue
            first = parts[part][number]
            text = f"{first.origin} and {sample.origin}"
            if _differs(first, sample):
                other.append(text)
            elif part == name:
                twice.append(text)
            else:
                across.append(f"{text} ({part} and {name})")
    _warn(other, "the same structure with other reference values, of which at most one can be right")
    _warn(across, "the same structure in two parts of the data, whose errors will look smaller than they are")
    _warn(twice, "the same structure twice, which counts twice")


def _differs(one: Sample, other: Sample) -> bool:
    atoms = len(one.structure.numbers)
    if one.energy is not None and other.energy is not None and abs(one.energy - other.energy) > _SAME_ENERGY * atoms:
        return True
    if one.forces is None or other.forces is None:
        return False
    return bool(np.abs(one.forces - other.forces).max() > _SAME_FORCES)


def _warn(found: Sequence[str], what: str) -> None:
    if found:
        more = f", and {len(found) - _NAMED} more pairs" if len(found) > _NAMED else ""
        warnings.warn(f"{'; '.join(found[:_NAMED])}{more}: {what}", stacklevel=4)


def _structures(count: int) -> str:
    return "1 structure" if count == 1 else f"{count} structures"
