"""The ladder of proof: a broken rung is reported, and decides the exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import trust as module

    return module


@pytest.mark.parametrize(
    ("value", "holds"), [(0.5, True), (1.0, True), (1.5, False), (float("nan"), False), (float("inf"), False)]
)
def test_a_broken_rung_is_said(
    trust: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: float, holds: bool
) -> None:
    rungs = [trust.Rung("good", 0.0, 0.0), trust.Rung("another", value, 1.0, "eV")]

    def two(quick):
        yield from rungs

    monkeypatch.setattr(trust, "LADDER", (two,))
    monkeypatch.setattr(sys, "argv", ["trust.py", "--quick", "--output", str(tmp_path / "trust.json")])
    assert trust.main() == (0 if holds else 1)
    report = json.loads((tmp_path / "trust.json").read_text())
    (part,) = report["parts"]
    assert [rung["holds"] for rung in part["rungs"]] == [True, holds]


def test_a_mean_that_is_off_by_a_thousandth_is_found(trust: ModuleType) -> None:
    """Deviations of means are measured by their own scatter."""
    import trust_dynamics

    values = np.random.default_rng(0).normal(1.0, 0.01, 20_000)
    assert trust_dynamics.deviation("right", values, 1.0).holds
    assert not trust_dynamics.deviation("wrong", values, 1.001).holds


def test_parts_are_measured_one_by_one(trust: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is measured again takes its old place, the others stay, and a broken one is not forgotten."""

    def first(quick):
        yield trust.Rung("of the first", 1.0 if quick else 0.5, 0.7)

    def second(quick):
        yield trust.Rung("of the second", 0.0, 0.0)

    output = tmp_path / "trust.json"
    monkeypatch.setattr(trust, "LADDER", (first, second))

    def climb(*words: str) -> tuple[int, list[tuple[str, bool]], list[str]]:
        monkeypatch.setattr(sys, "argv", ["trust.py", "--output", str(output), *words])
        status = trust.main()
        report = json.loads(output.read_text())
        return status, [(part["part"], part["quick"]) for part in report["parts"]], report["not_yet"]

    assert climb("--only", "second") == (0, [("second", False)], ["first"])
    assert climb("--only", "first", "--quick") == (1, [("first", True), ("second", False)], [])
    assert climb("--only", "second") == (1, [("first", True), ("second", False)], [])
    assert climb("--only", "first") == (0, [("first", False), ("second", False)], [])
    assert climb("--quick") == (1, [("first", True), ("second", True)], [])


class _Springs(Calculator):
    """Atoms on springs to the origin, with an angular frequency in ASE's unit, each for itself."""

    implemented_properties = ("energy", "forces")

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def calculate(self, atoms, properties, system_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        forces = -(self.frequency**2) * atoms.get_masses()[:, None] * atoms.positions
        self.results = {"energy": -0.5 * float((forces * atoms.positions).sum()), "forces": forces}


def vibrations(random: np.random.Generator, frequency: float, temperature: float) -> Atoms:
    """Ten thousand atoms that vibrate on springs, as hot as they should be."""
    atoms = Atoms("H10000", positions=np.zeros((10_000, 3)))
    widths = np.sqrt(units.kB * temperature / atoms.get_masses())[:, None]
    atoms.positions = widths / frequency * random.standard_normal((10_000, 3))
    atoms.set_velocities(widths * random.standard_normal((10_000, 3)))
    atoms.calc = _Springs(frequency)
    return atoms


def test_squares_of_displacements_with_velocity_rescaling_are_as_the_guide_says() -> None:
    """Kinetic energies are held. Velocity Verlet conserves v^2 + (1 - (omega dt)^2 / 4) omega^2 x^2, so that squares of
    x are too large by (omega dt)^2 / 4."""
    period, timestep, temperature = 9.0 * units.fs, 0.5 * units.fs, 300.0
    frequency = 2 * np.pi / period
    atoms = vibrations(np.random.default_rng(5), frequency, temperature)
    dynamics = Bussi(atoms, timestep, temperature_K=temperature, taut=20 * units.fs, rng=np.random.default_rng(6))
    kinetic, squares = [], []
    expected = 1.5 * units.kB * temperature * len(atoms)
    for _ in range(300):
        dynamics.run(4)
        kinetic.append(atoms.get_kinetic_energy() / expected)
        squares.append(atoms.get_potential_energy() / expected)
    step = (frequency * timestep) ** 2
    # The total kinetic energy scatters by sqrt(2 / 30,000), and has forgotten itself after a few times 20 fs.
    chance = 5 * np.sqrt(2 / 30_000 / 10)
    assert np.mean(kinetic[60:]) == pytest.approx(1, abs=chance)
    assert np.mean(squares[60:]) / np.mean(kinetic[60:]) == pytest.approx(1 + step / 4, abs=step**2 / 12 + chance / 5)
    assert step / 4 > 2 * (step**2 / 12 + chance / 5)  # the test can tell


def test_the_time_step_is_taken_out_of_kinetic_energies(trust: ModuleType) -> None:
    """Ten thousand vibrations with the period of O-H, 9 fs, in steps of 0.5 fs: 2 % too little, once corrected not."""
    from trust_dynamics import kinetic_without_step

    period, timestep, temperature = 9.0 * units.fs, 0.5 * units.fs, 300.0
    random = np.random.default_rng(5)
    frequency, thermal = 2 * np.pi / period, units.kB * temperature
    atoms = vibrations(random, frequency, temperature)
    dynamics = Langevin(atoms, timestep, temperature_K=temperature, friction=0.05 / units.fs, fixcm=False, rng=random)
    raw, corrected = [], []
    for _ in range(250):
        dynamics.run(4)
        motion = atoms.get_masses(), atoms.get_velocities(), atoms.get_forces()
        raw.append(atoms.get_kinetic_energy() / len(atoms))
        corrected.append(kinetic_without_step(*motion, timestep).mean())
    expected, step = 1.5 * thermal, (frequency * timestep) ** 2
    # Of 10,000 atoms, kinetic energies scatter by sqrt(2 / 30,000); frames 20 fs apart, of which there are 50, have
    # forgotten each other.
    chance = 5 * np.sqrt(2 / 30_000 / 50)
    assert np.mean(raw[50:]) / expected - 1 == pytest.approx(-step / 6, abs=chance)
    assert np.mean(corrected[50:]) / expected - 1 == pytest.approx(0, abs=chance + step**2 / 12)
    assert step / 6 > 2 * (chance + step**2 / 12)  # the test can tell
