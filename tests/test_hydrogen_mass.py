"""Hydrogen mass repartitioning: which atom pays, what stays, what is refused, and what files and commands say."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_masses
from ase.io import read, write
from test_cli import fail, succeed
from tolerances import EXACT

from so3md.dynamics.record import read_record
from so3md.structures import read_structure
from so3md.structures.hydrogen_mass import repartition

H, C, O = atomic_masses[[1, 6, 8]]  # noqa: E741  # the symbols
RUN = ("--seed", "1", "--timestep", "1", "--trajectory-interval", "5", "--no-plot")


def test_hydrogens_get_the_mass_and_what_they_are_bound_to_gives_it() -> None:
    ethanol = molecule("CH3CH2OH")
    total = ethanol.get_masses().sum()
    repartition(ethanol, 3.0)
    carbons = ethanol.get_masses()[ethanol.numbers == 6]
    assert sorted(C - carbons) == pytest.approx([2 * (3 - H), 3 * (3 - H)])
    assert ethanol.get_masses()[ethanol.numbers == 8] == pytest.approx(O - (3 - H))
    assert (ethanol.get_masses()[ethanol.numbers == 1] == 3.0).all()
    assert ethanol.get_masses().sum() == pytest.approx(total, rel=1e-14)


def test_the_nearest_heavy_atom_pays_through_the_boundary_of_the_cell_too() -> None:
    shared = Atoms("OHO", [(0, 0, 9.4), (0, 0, 0.45), (0, 0, 1.6)], cell=[10, 10, 10], pbc=True)
    repartition(shared, 2.0)  # 1.05 A from the first oxygen, 1.15 A from the other
    np.testing.assert_allclose(shared.get_masses(), [O - (2 - H), 2, O])
    water = read_structure("water")
    water.wrap()
    repartition(water, 3.0)
    np.testing.assert_allclose(water.get_masses()[water.numbers == 8], O - 2 * (3 - H))


def test_hydrogens_without_a_heavy_atom_are_named_and_left() -> None:
    atoms = molecule("H2") + Atoms("H", [(0, 0, 5)])
    atoms += Atoms("OH", [(5, 0, 0), (5, 0, 0.97)])
    with pytest.warns(UserWarning, match=r"atom 0 \(H\), atom 1 \(H\), atom 2 \(H\), without .* keep 1.00"):
        repartition(atoms, 3.0)
    np.testing.assert_allclose(atoms.get_masses(), [H, H, H, O - (3 - H), 3])


def test_each_atom_keeps_its_kinetic_energy() -> None:
    water = molecule("H2O")
    water.set_momenta(np.random.default_rng(1).standard_normal((3, 3)))
    before = np.square(water.get_momenta()).sum(axis=1) / water.get_masses()
    repartition(water, 3.0)
    np.testing.assert_allclose(np.square(water.get_momenta()).sum(axis=1) / water.get_masses(), before, rtol=1e-14)


def test_what_makes_no_sense_is_refused_and_changes_nothing() -> None:
    methane, heavy = molecule("CH4"), molecule("H2O")
    with pytest.raises(ValueError, match=r"atom 0 \(C\) with 4 hydrogens would be left .* 0.043 u; .* most 3.21 u"):
        repartition(methane, 4.0)
    np.testing.assert_array_equal(methane.get_masses(), atomic_masses[methane.numbers])
    repartition(methane, 3.2)
    heavy.set_masses([O, 2.014, H])
    with pytest.raises(ValueError, match=r"atom 1 \(H\) has a mass of 2.014 u already, .* leave out hydrogen_mass"):
        repartition(heavy, 3.0)
    assert heavy.get_masses().tolist() == [O, 2.014, H]
    elsewhere = molecule("H2O") + Atoms("C", [(5, 0, 0)])
    elsewhere.set_masses([O, H, H, 13.003])
    repartition(elsewhere, 3.0)  # an isotope that has no part in it
    assert elsewhere.get_masses()[3] == 13.003
    for mass in (0.5, 5.0, float("nan")):
        with pytest.raises(ValueError, match=r"hydrogen_mass .*: expected a positive number from 1.008 to 4 u"):
            repartition(molecule("H2O"), mass)


@pytest.fixture
def heavy_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("ethanol.xyz", molecule("CH3CH2OH"))
    output = succeed("md", "ethanol.xyz", "--hmr", "3", *RUN, "--steps", "10", "-o", "run")
    assert "hydrogen_mass 3" in output
    return tmp_path / "run"


def test_runs_record_and_keep_it(heavy_run: Path) -> None:
    assert read_record(heavy_run)["settings"]["hydrogen_mass"] == 3.0
    for name in ("trajectory.xyz", "final.xyz"):
        masses = read(heavy_run / name).get_masses()
        assert masses.sum() == pytest.approx(molecule("CH3CH2OH").get_masses().sum())
        assert np.count_nonzero(masses == 3.0) == 6
    succeed("md", "ethanol.xyz", "--resume", "run", "--steps", "10")  # the structure is the one that it began with
    succeed("md", "ethanol.xyz", "--hydrogen-mass", "3", *RUN, "--steps", "20", "-o", "whole")
    finals = [Path(name, "final.xyz").read_text() for name in ("run", "whole")]
    assert len(read("run/trajectory.xyz", ":")) == 5
    positions = [read(f"{name}/final.xyz").positions for name in ("run", "whole")]
    np.testing.assert_allclose(*positions, atol=EXACT.component)
    assert [text.count("masses") for text in finals] == [1, 1]
    assert "hydrogen_mass" in fail("md", "--resume", "run", "--hmr", "2", "--steps", "1")


def test_its_last_structure_goes_on_without_being_told_again(heavy_run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        succeed("md", "run/final.xyz", *RUN, "--steps", "2", "-o", "next")
    np.testing.assert_array_equal(read("next/final.xyz").get_masses(), read(heavy_run / "final.xyz").get_masses())
    assert "leave out hydrogen_mass (--hmr) to keep" in fail("md", "run/final.xyz", "--hmr", "3", *RUN, "-o", "twice")
    assert not Path("twice").exists()


@pytest.mark.parametrize(
    ("options", "inner", "outer"),
    [
        ("--hmr 3", 1.0, 3.0),
        ("--hmr 2", 0.55, 2.75),
        ("", 0.55, 2.75),
        ("--ensemble nve", 0.5, 2.0),
        ("--ensemble nve --hmr 3", 1.0, 3.0),
        ("--ensemble nve --timestep 0.4", 0.4, 2.0),
        ("--hmr 3 --timestep 0.5", 0.5, 3.0),
        ("--hmr 3 --timestep 1 --outer-timestep 4", 1.0, 4.0),
        ("--hmr 3 --outer-timestep 4", 1.0, 4.0),
        ("--outer-timestep 2.75", 0.55, 2.75),
        ("--outer-timestep 2", 0.5, 2.0),
    ],
)
def test_multiple_time_steps_are_longer_with_heavy_hydrogens(
    options: str, inner: float, outer: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("md", "water", "--mts", *options.split(), "--no-plot", "--steps", "1", "-o", "run")
    settings = read_record(tmp_path / "run")["settings"]
    assert (settings["timestep"], settings["outer_timestep"]) == (inner, outer)
    succeed("lammps", "water", "--mts", *options.split(), "-o", "input", "--no-evaluate")
    text = Path("input/in.lammps").read_text()
    found = re.search(r"^variable timestep index (\S+)", text, re.MULTILINE)
    assert float(found.group(1)) == pytest.approx(1e-3 * outer)  # ps
    assert re.search(rf"^run_style +respa 2 {outer / inner:g} ", text, re.MULTILINE)


@pytest.mark.parametrize("ensemble", [("nve",), ("nvt", "--thermostat", "csvr"), ("npt",)])
def test_every_ensemble_has_it(ensemble: tuple[str, ...], tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed("md", "water", "--hmr", "3", "--ensemble", *ensemble, *RUN, "--steps", "2", "-o", str(run))
    row = (run / "log.csv").read_text()
    assert json.loads((run / "run.json").read_text())["identity"]["hydrogen_mass"] == 3.0
    masses = read(run / "final.xyz").get_masses()
    assert np.unique(masses.round(6)).tolist() == pytest.approx([3.0, O - 2 * (3 - H)], abs=1e-6)
    assert "nan" not in row


def test_inputs_for_lammps_have_the_masses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("lammps", "water", "--hmr", "3", "-o", "heavy", "--no-evaluate")
    masses = re.search(r"Masses\n\n(.*?)\n\n", Path("heavy/data.lammps").read_text(), re.DOTALL).group(1)
    assert [float(line.split()[1]) for line in masses.splitlines()] == pytest.approx([3, O - 2 * (3 - H)])
    assert "--hydrogen-mass does not go with --ensemble minimize" in fail(
        "lammps", "water", "--hmr", "3", "--ensemble", "minimize", code=2
    )
