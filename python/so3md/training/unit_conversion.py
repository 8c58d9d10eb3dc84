"""Units of data sets, as factors to eV, Angstrom and e."""

from __future__ import annotations

from ase import units

from so3md.nearest_name import closest
from so3md.present import present
from so3md.reference_values import Factors
from so3md.training.config import Units
from so3md.training.schema import ConfigError

ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "Hartree": units.Hartree,
    "Ha": units.Hartree,
    "mHa": 1e-3 * units.Hartree,
    "Ry": units.Rydberg,
}
LENGTHS = {"Angstrom": 1.0, "A": 1.0, "Å": 1.0, "Bohr": units.Bohr, "nm": 10.0, "pm": 0.01}
PRESSURES = {"GPa": units.GPa, "MPa": units.GPa / 1000, "kbar": 1000 * units.bar, "bar": units.bar, "Pa": units.Pascal}
DIPOLES = {"Debye": units.Debye, "D": units.Debye} | {f"e {name}": value for name, value in LENGTHS.items()}


def factors(given: Units, default: Units | None, where: str) -> Factors:
    """The factors of given units; what is not given follows from energy and length, these from `default`.

    Raises ConfigError, naming the key under `where`, for a unit that is not known or not given at all.
    """
    named = {
        name: getattr(given, name) or (getattr(default, name) if default else None) for name in ("energy", "length")
    }
    for name, value in named.items():
        if value is None:
            known = ", ".join(ENERGIES if name == "energy" else LENGTHS)
            raise ConfigError(
                f"{where}.{name}: the key is missing, and the file does not say its units; one of {known}"
            )
    energy = _lookup(present(named["energy"]), ENERGIES, f"{where}.energy")
    length = _lookup(present(named["length"]), LENGTHS, f"{where}.length")
    forces = _ratio(given.forces, energy / length, 1, f"{where}.forces")
    if given.stress in PRESSURES:
        stress = PRESSURES[given.stress]
    else:
        stress = _ratio(given.stress, energy / length**3, 3, f"{where}.stress")
    dipole = length if given.dipole is None else _lookup(given.dipole, DIPOLES, f"{where}.dipole")
    return Factors(energy, length, forces, stress, dipole)


def _lookup(name: str, table: dict[str, float], key: str) -> float:
    if name not in table:
        raise ConfigError(f"{key}: unknown unit {name!r}; {closest(name, table)}")
    return table[name]


def _ratio(text: str | None, default: float, power: int, key: str) -> float:
    """Energy over length to a power, written as "kcal/mol/A" or "eV/A^3"."""
    if text is None:
        return default
    energy, _, length = text.rpartition("/")
    suffix = "" if power == 1 else f"^{power}"
    if not energy or not length.endswith(suffix):
        raise ConfigError(f"{key}: expected a unit such as eV/A{suffix}, found {text!r}")
    return _lookup(energy, ENERGIES, key) / _lookup(length.removesuffix(suffix), LENGTHS, key) ** power
