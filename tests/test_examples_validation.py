"""The cases of the validation run in small, and their results and references are what the page makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sanitizers import patience
from tolerances import REFERENCE

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "validation"


def run(script: str, output: Path, *arguments: str) -> dict[str, Any]:
    """The result that a script writes."""
    command = [sys.executable, FOLDER / f"{script}.py", *arguments, "--output", output]
    done = subprocess.run(command, cwd=output.parent, capture_output=True, text=True, timeout=patience(300))
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


def committed(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "results" / f"{name}.json").read_text())


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_water_and_its_dimer_are_those_of_the_result(tmp_path: Path):
    """Both minima were relaxed to 1e-4 eV/A, which leaves less than these differences."""
    found, known = run("water_molecules", tmp_path / "water.json"), committed("water_molecules")
    assert found["molecule"] == pytest.approx(known["molecule"], rel=1e-3)
    for key in ("binding_kcal_per_mol", "oxygen_distance_A", "dipole_D"):
        assert found["dimer"][key] == pytest.approx(known["dimer"][key], rel=2e-3)


def test_a_crystal_of_ones_own(tmp_path: Path):
    """Urea, relaxed loosely, comes near the result; a crystal that is there is not calculated again."""
    entries = json.loads((FOLDER / "crystals.json").read_text())
    data, output = tmp_path / "data.json", tmp_path / "crystals.json"
    data.write_text(json.dumps({"mine": entries["urea"]}))
    found = run("crystals", output, "--data", str(data), "--fmax", "0.02")["crystals"]["mine"]
    known = committed("crystals")["crystals"]["urea"]
    assert found["molecules"] == found["molecules_at_the_end"] == 2
    assert found["lattice_energy_kJ_per_mol"] == pytest.approx(known["lattice_energy_kJ_per_mol"], abs=0.5)
    output.write_text(json.dumps({"crystals": {"mine": found | {"volume_A3": 1.0}}}))
    assert run("crystals", output, "--data", str(data))["crystals"]["mine"]["volume_A3"] == 1.0


def test_every_crystal_is_built_of_whole_molecules(scripts: None):
    import crystals

    for name, entry in json.loads((FOLDER / "crystals.json").read_text()).items():
        number, free = crystals.molecules(crystals.build(entry))
        assert number == committed("crystals")["crystals"][name]["molecules"]
        distances = free.get_all_distances() + np.eye(len(free)) * 9
        assert distances.min() > 0.85, name  # rattled by 0.02
        assert distances.max() < 9.5, name


def test_the_failure_of_carbon_dioxide_is_that_of_the_model(scripts: None):
    """The crystal of the measured structure, with the published cutoff: the reference model has the same energy, which
    lies far above that of free molecules."""
    pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")
    import crystals

    from so3md import So3kratesCalculator
    from so3md.loading import model_path
    from so3md.model_file import ModelFile
    from so3md.reference import reference_model

    atoms = crystals.build(json.loads((FOLDER / "crystals.json").read_text())["carbon dioxide"])
    number, free = crystals.molecules(atoms)
    energies = []
    for one in (atoms, free):
        one.calc = So3kratesCalculator(precision="double")
        energies.append(one.get_potential_energy())
    model = reference_model(ModelFile.read(model_path("so3lr")))
    reference = model.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)["energy"]
    assert energies[0] == pytest.approx(float(reference), abs=REFERENCE.energy_per_atom * len(atoms))
    assert energies[0] / number - energies[1] > 3  # eV


def test_a_coarse_map_of_the_peptide(tmp_path: Path):
    found = run("peptide", tmp_path / "peptide.json", "--step", "120", "--fmax", "0.1")
    assert found["angles_degrees"] == [-180, -60, 60]
    assert found["not_relaxed"] == 0
    assert found["farthest_from_the_angles_degrees"] < 2
    assert min(min(row) for row in found["map_kcal_per_mol"]) == 0
    assert found["minima"][0]["energy_kcal_per_mol"] == 0
    named = {one["name"]: one for one in committed("peptide")["minima"]}
    for one in found["minima"]:  # a minimum does not depend on the map that it was found with
        if one["name"] in named:
            assert one["phi_degrees"] == pytest.approx(named[one["name"]]["phi_degrees"], abs=2)


def test_springs_are_derivatives(scripts: None):
    """Forces of the springs against differences of their energy, which is quadratic in the torsions."""
    import peptide
    from ase.io import read

    atoms, backbone = read(peptide.STRUCTURE), (4, 6, 8, 14, 16)
    held = peptide.Held(backbone, [(-60.0, 60.0)])

    def energy(positions: np.ndarray) -> float:
        moved = atoms.copy()
        moved.positions = positions
        away = peptide.wrapped(peptide.angles(moved, backbone) - held.targets[0])
        return 0.5 * held.SPRING * float(away @ away)

    forces = held.forces(atoms.positions[None], np.array([0]))[0]
    step = 1e-4  # A: errors of third order are below 1e-6 of these forces
    for atom in backbone:
        for axis in range(3):
            shift = np.zeros_like(atoms.positions)
            shift[atom, axis] = step
            slope = (energy(atoms.positions + shift) - energy(atoms.positions - shift)) / (2 * step)
            assert forces[atom, axis] == pytest.approx(-slope, abs=1e-5 * np.abs(forces).max())


def test_liquid_water_in_a_few_steps(tmp_path: Path):
    """All three runs, what is analysed of them, and a second call, which finds them done."""
    pytest.importorskip("MDAnalysis", reason="the analysis needs MDAnalysis (pip install '.[analysis]')")
    # The model is its own student: steps of two sizes that agree.
    arguments = ("--student", "so3lr", "--scale", "0.001", "--begin", "0", "--currents", "4")
    found = run("liquid_water", tmp_path / "liquid.json", *arguments)
    assert 0.9 < found["npt"]["density"]["value"] < 1.1
    assert found["npt"]["dipole"]["value"] > 1
    assert found["radial"]["O-O"]["first_maximum_A"] == pytest.approx(2.75, abs=0.15)
    assert found["infrared"]["picoseconds"] == pytest.approx(0.016)
    again = run("liquid_water", tmp_path / "liquid.json", *arguments)
    assert again["radial"] == found["radial"]


def test_a_spectrum_shows_the_frequency_of_a_current(scripts: None):
    import polarization

    times = np.arange(2000) * 4.0  # fs
    current = np.cos(2 * np.pi * 1600 * 2.99792458e-5 * times)
    wavenumbers, absorption = polarization.spectrum(np.outer(current, [1, 2, 3]), 4.0)
    assert wavenumbers[np.argmax(absorption)] == pytest.approx(1600, abs=5)


def test_features_of_a_distribution(scripts: None):
    import liquid_water

    r = np.arange(0, 6, 0.05)
    g = (
        1
        + np.exp(-(((r - 2.8) / 0.2) ** 2))
        - 0.3 * np.exp(-(((r - 3.4) / 0.2) ** 2))
        + np.exp(-(((r - 4.5) / 0.2) ** 2))
    )
    found = liquid_water.features(r, g, (2.4, 3.4))
    places = [found[f"{name}_A"] for name in ("first_maximum", "first_minimum", "second_maximum")]
    assert places == pytest.approx([2.8, 3.4, 4.5], abs=0.06)


def test_diffusion_in_an_infinite_box_goes_with_its_own_viscosity(scripts: None):
    import liquid_water

    box, measured = ({"value": value, "error": 0.1, "unit": "1e-9 m2/s"} for value in (0.5, 1.1))
    found = liquid_water.of_an_infinite_box(box, measured)
    correction = 1.1 - 0.5  # with the measured viscosity
    assert found["value"] == pytest.approx(0.5 + correction * found["value"] / liquid_water.DIFFUSION)
    assert found["error"] == pytest.approx(0.1 * found["value"] / 0.5)
    # As fast in the infinite box as the measured liquid: the correction is that of the measured viscosity.
    box["value"], measured["value"] = 2.0, liquid_water.DIFFUSION
    assert liquid_water.of_an_infinite_box(box, measured)["value"] == pytest.approx(liquid_water.DIFFUSION)
    assert liquid_water.of_an_infinite_box(None, None) is None


def test_every_reference_has_a_source():
    known = json.loads((FOLDER / "references.json").read_text())
    used = {source for case, values in known.items() if case != "sources" for _, source in values.values()}
    assert used == known["sources"].keys()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import figures as module

    return module


def test_the_page_puts_the_reference_beside(figures: ModuleType):
    assert "| dimer: binding energy, kcal/mol | 5.56 | 5.02 | [3] |" in figures.BLOCKS["validation_molecules"]()
