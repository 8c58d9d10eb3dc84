"""`so3md lammps`: its files hold the structure as it was, and LAMMPS finds the energy and forces of ASE."""

from __future__ import annotations

import errno
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.io import read, write
from ase.io.lammpsdata import read_lammps_data
from click.testing import CliRunner
from lammps_runs import lmp, needs_lammps, run, thermo
from tolerances import EXACT

import so3md
from so3md import So3kratesCalculator
from so3md.cli import main
from so3md.lammps_input import DATA, INPUT, ForceField, LammpsStructure, Minimization, script
from so3md.lammps_input.structure import MARGIN
from so3md.lammps_input.text import word
from so3md.structures import read_structure

SKEWED = np.array([[4.0, 0.3, 0.0], [3.9, 4.1, 0.2], [-3.0, 2.9, 5.0]])


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def succeed(*arguments: str) -> str:
    """Run `so3md lammps`, which must succeed; returns what it printed."""
    result = CliRunner().invoke(main, ["lammps", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def fail(*arguments: str, code: int = 1) -> str:
    """Run `so3md lammps`, which must fail with one line for the user; returns that line."""
    result = CliRunner().invoke(main, ["lammps", *arguments])
    assert result.exit_code == code, result.output
    message = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1, result.output
    return message[0]


def rattled_water() -> Atoms:
    atoms = read_structure("water")
    atoms.rattle(0.05, seed=1)
    return atoms


def skewed_water() -> Atoms:
    """Water in a sheared cell, turned so that no cell vector lies along an axis."""
    atoms = rattled_water()
    strained = np.array([[1, 0.1, 0], [0.2, 1, -0.1], [0.1, 0.3, 1]])
    atoms.set_cell(atoms.cell.array @ strained, scale_atoms=True)
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    return atoms


def carbon_dioxide(cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> Atoms:
    """A bent molecule, chiral together with its cell, which is much skewed."""
    return Atoms("CO2", [[0.1, 0, 0], [0, 0.2, 1.17], [0, 0.1, -1.17]], cell=cell, pbc=pbc)


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=2)
    return atoms


STRUCTURES = {
    "cube": rattled_water,
    "sheared": skewed_water,
    "skewed": lambda: carbon_dioxide(SKEWED, (True, True, True)),
    "left-handed": lambda: carbon_dioxide(SKEWED[[1, 0, 2]], (True, True, True)),
    "slab": lambda: carbon_dioxide(SKEWED, (True, True, False)),
    "left-handed slab": lambda: carbon_dioxide(-SKEWED, (True, False, True)),
    "sheet without a third vector": lambda: carbon_dioxide(SKEWED * [[1], [1], [0]], (True, True, False)),
    "wire": lambda: carbon_dioxide(SKEWED, (False, True, False)),
    "molecule": ethanol,
    "molecule in a box": lambda: carbon_dioxide(SKEWED, (False, False, False)),
    "atom": lambda: Atoms("Cl", info={"spin": 0.5}),
}


def from_data_file(text: str, pbc: np.ndarray, **options: str) -> Atoms:
    atoms = read_lammps_data(io.StringIO(text), **options)
    atoms.pbc = pbc
    return atoms


# --- structures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_data_file_holds_the_same_structure(name: str):
    """Not just the same distances: the energy and the forces, which are turned as the rotation says."""
    atoms = STRUCTURES[name]()
    converted = LammpsStructure.of(atoms)
    assert np.linalg.det(converted.rotation) == pytest.approx(1)  # no mirror image
    np.testing.assert_allclose(np.triu(converted.atoms.cell.array, 1), 0, rtol=0, atol=1e-12)
    tilts, edges = np.tril(converted.atoms.cell.array, -1), converted.atoms.cell.array.diagonal()
    assert np.all(np.abs(tilts) <= 0.5 * edges + 1e-12)
    again = from_data_file(converted.data_file("title", atom_style="charge"), atoms.pbc)
    again.info = atoms.info
    calculator = So3kratesCalculator(precision="double")
    energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    assert abs(calculator.get_potential_energy(again) - energy) < EXACT.energy_per_atom * len(atoms)
    np.testing.assert_allclose(calculator.get_forces(again), forces @ converted.rotation, rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize("name", ["slab", "left-handed slab", "wire", "molecule", "molecule in a box", "atom"])
def test_a_box_encloses_what_is_not_periodic(name: str):
    atoms = STRUCTURES[name]()
    converted = LammpsStructure.of(atoms)
    assert converted.boundary == " ".join("p" if periodic else "m" for periodic in atoms.pbc)
    for axis in np.flatnonzero(~atoms.pbc):
        along = converted.atoms.positions[:, axis]
        assert along.min() == pytest.approx(MARGIN)
        assert along.max() == pytest.approx(converted.atoms.cell[axis, axis] - MARGIN)


@pytest.mark.parametrize("system", ["metal", "real"])
def test_velocities_turn_with_the_cell(system: str):
    atoms = carbon_dioxide(SKEWED, (True, True, True))
    velocities = np.random.default_rng(0).normal(size=(3, 3)) * 0.01
    atoms.set_velocities(velocities)
    converted = LammpsStructure.of(atoms)
    text = converted.data_file("title", units=system)
    again = from_data_file(text, atoms.pbc, units=system)
    np.testing.assert_allclose(again.get_velocities(), velocities @ converted.rotation, rtol=1e-7)
    per_fs = 1.0 if system == "real" else 1000.0
    first = np.array(text.split("Velocities")[1].split()[1:4], dtype=float)
    np.testing.assert_allclose(first, velocities[0] @ converted.rotation * units.fs * per_fs, rtol=1e-7)


def test_types_are_elements_by_atomic_number_and_isotopes():
    atoms = molecule("CH3CH2OH")
    masses = atoms.get_masses()
    masses[3] = 2.014
    atoms.set_masses(masses)
    converted = LammpsStructure.of(atoms)
    assert converted.symbols == ["H", "H", "C", "O"]
    text = converted.data_file("title")
    assert re.search(r"Masses\n\n1 1\.008  # H\n2 2\.014  # H\n3 12\.011  # C\n4 15\.999  # O\n\nAtoms", text)
    assert [converted.symbols[number - 1] for number in converted.types] == atoms.get_chemical_symbols()
    np.testing.assert_allclose(np.array(converted.masses)[converted.types - 1], masses)


@pytest.mark.parametrize("atom_style", ["atomic", "charge", "full"])
def test_atom_styles_have_their_columns(atom_style: str):
    atoms = ethanol()
    atoms.set_initial_charges(np.arange(len(atoms)) / 10)
    again = from_data_file(LammpsStructure.of(atoms).data_file("title", atom_style=atom_style), atoms.pbc)
    assert again.get_chemical_symbols() == atoms.get_chemical_symbols()
    if atom_style != "atomic":
        np.testing.assert_allclose(again.get_initial_charges(), atoms.get_initial_charges())


def test_cells_that_are_none_are_refused():
    with pytest.raises(ValueError, match="periodic along cell vector 2, which is zero"):
        LammpsStructure.of(Atoms("H", cell=[5, 0, 5], pbc=True))
    with pytest.raises(ValueError, match="has no volume"):
        LammpsStructure.of(Atoms("H", cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=True))


# --- the command ----------------------------------------------------------------------------------------------------


def line(text: str, beginning: str) -> str:
    """The line of an input file that begins like this, without its comment and with single spaces."""
    found = [item for item in text.splitlines() if item.startswith(beginning)]
    assert len(found) == 1, found
    return " ".join(found[0].split("#")[0].split())


def test_the_files_say_what_was_asked_for():
    output = succeed("water", "--seed", "5")
    assert "H128O64, 192 atoms, charge 0, spin 0; nvt-langevin" in output
    assert "cd water-lammps\n  lmp -in in.lammps\n  mpiexec -n 4 lmp -in in.lammps" in output
    text = Path("water-lammps", INPUT).read_text()
    assert line(text, "pair_style") == (
        "pair_style so3krates so3lr charge 0 spin 0 lr_cutoff 12 lr_damping 2 coulomb cut precision mixed"
    )
    assert line(text, "pair_coeff") == "pair_coeff * * H O"
    assert line(text, "neighbor") == "neighbor 1.0 bin"
    assert line(text, "boundary") == "boundary p p p"
    assert line(text, "variable seed") == "variable seed index 5"
    assert line(text, "variable timestep") == "variable timestep index 0.0005"
    assert line(text, "dump_modify") == "dump_modify trajectory element H O sort id format float %.10g"
    data = read(Path("water-lammps", DATA), format="lammps-data")
    assert len(data) == 192
    assert abs(data.get_initial_charges().sum()) < 1e-6  # those of the model
    assert data.get_initial_charges()[data.numbers == 8].max() < -0.3
    assert re.search(r"Its energy is -31772\.\d{4} eV", text)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["langevin ${temperature} ${temperature} 1 $(v_seed+step)", "compute_modify  thermo_temp extra/dof 0"]),
        (("--friction", "10", "--units", "real"), ["${temperature} ${temperature} 100 $", "timestep index 0.5 "]),
        (("--thermostat", "csvr", "--taut", "50"), ["temp/csvr ${temperature} ${temperature} 0.05 $"]),
        (("--ensemble", "npt"), ["${temperature} 0.1 iso ${pressure} ${pressure} 1", "pressure index 1.01325 "]),
        (("--ensemble", "npt", "--units", "real"), ["100 iso ${pressure} ${pressure} 1000", "pressure index 1 "]),
        (("--ensemble", "npt", "--cell", "full"), ["tri ${pressure}", "change_box      all triclinic"]),
        (("--ensemble", "nve"), ["fix             integrate all nve"]),
        (("--ensemble", "minimize", "--cell", "anisotropic"), ["aniso ${pressure}", "minimize        0.0 0.01 "]),
        (("--ensemble", "minimize", "--units", "real"), ["minimize        0.0 0.2306"]),
        (("--coulomb", "ewald", "--ewald-accuracy", "1e-6"), ["coulomb ewald precision mixed ewald_accuracy 1e-06"]),
        (("--coulomb", "ewald", "--ewald-method", "mesh"), ["coulomb ewald precision mixed ewald_method mesh"]),
        (("--coulomb", "kspace"), ["coulomb kspace", "kspace_style    pppm 1e-05", "kspace_modify   gewald 0.25"]),
        (("--charge", "-1", "--spin", "0.5"), ["charge -1 spin 0.5 "]),
        (("--threads", "2"), ["threads 2"]),
    ],
)
def test_options_arrive_in_the_units_of_lammps(options: tuple[str, ...], expected: list[str]):
    succeed("water", "-o", "run", *options)
    text = Path("run", INPUT).read_text()
    for piece in expected:
        assert piece in text


def test_velocities_of_the_file_are_kept_unless_they_are_to_be_drawn():
    atoms = ethanol()
    atoms.set_velocities(np.full((9, 3), 0.01) + np.arange(9)[:, None] * 0.001)
    write("moving.extxyz", atoms)
    succeed("moving.extxyz", "-o", "kept")
    assert "velocity" not in Path("kept", INPUT).read_text()
    assert "Velocities" in Path("kept", DATA).read_text()
    succeed("moving.extxyz", "-o", "drawn", "--velocities", "draw")
    assert "velocity all create" in Path("drawn", INPUT).read_text()
    assert "Velocities" not in Path("drawn", DATA).read_text()
    succeed("moving.extxyz", "-o", "nve", "--ensemble", "nve")
    masses, moving = atoms.get_masses(), read(Path("nve", DATA), format="lammps-data")
    assert np.abs(masses @ moving.get_velocities()).max() < 1e-9  # of the centre of mass, which LAMMPS counts out
    write("resting.xyz", ethanol())
    assert "the structure has none" in fail("resting.xyz", "--velocities", "file")


def test_a_supercell_has_the_charge_of_all_its_cells():
    atoms = Atoms("H2O", molecule("H2O").positions + 2, cell=[4, 5, 6], pbc=True, info={"charge": 1, "spin": 0.5})
    write("cell.extxyz", atoms)
    output = succeed("cell.extxyz", "--supercell", "2", "1", "1")
    assert "6 atoms, charge 2 (1 for each of 2 cells), spin 1 (0.5 for each of 2 cells);" in output
    assert "Warning: a periodic cell with a charge of 2 e" in output


def test_a_molecule_needs_no_cutoff():
    write("ethanol.xyz", ethanol())
    assert "Long-range cutoff none (the model's for molecules)" in succeed("ethanol.xyz", "-o", "run")
    assert "lr_cutoff none " in Path("run", INPUT).read_text()
    succeed("ethanol.xyz", "-o", "other", "--lr-cutoff", "12")
    assert "lr_cutoff 12 " in Path("other", INPUT).read_text()


def test_constraints_and_odd_electrons_are_warned_about():
    from ase.constraints import FixAtoms

    write("radical.traj", Atoms("OH", [[0, 0, 0], [0, 0, 1]], constraint=FixAtoms([0])))
    output = succeed("radical.traj")
    assert output.count("Warning: charge 0 leaves 9 electrons") == 1
    assert "Warning: constraints of the structure are not written" in output
    assert "9 electrons" in succeed("radical.traj", "--no-evaluate", "-o", "run")


NAMES = {
    "quotes and signs": "a b'c $x ${y} $(z) #d &e (f)[g]{h};i!*?~|<>=\\ %&",
    "double quotes": 'he said "yes" $x #1',
}


@needs_lammps
@pytest.mark.parametrize("kind", NAMES)
def test_lammps_reads_any_name_that_stays_on_a_line(kind: str, so3lr_path: Path):
    """Of the model, the structure and the directory."""
    Path(NAMES[kind]).mkdir()
    model, structure = Path(NAMES[kind], "model &"), f"{NAMES[kind]}.xyz"
    model.symlink_to(so3lr_path)
    write(structure, ethanol(), format="extxyz")
    succeed(structure, "--model", str(model), "-o", f"{NAMES[kind]} run", "--lr-cutoff", "none")
    output = lmp(Path(f"{NAMES[kind]} run"), "-in", INPUT, "-var", "steps", "0")
    assert str(model.absolute()) in output
    expected = So3kratesCalculator(lr_cutoff=None).get_potential_energy(ethanol())
    assert thermo(output)[0][0]["PotEng"] == pytest.approx(expected, abs=1e-3)


@needs_lammps
def test_structures_may_have_names_of_any_letters():
    write("Wörter 水.xyz", ethanol())
    succeed("Wörter 水.xyz", "--lr-cutoff", "none")
    assert "Loop time" in lmp(Path("Wörter 水-lammps"), "-in", INPUT, "-var", "steps", "0")


@needs_lammps
def test_the_data_file_says_its_units():
    """So that LAMMPS warns where an input has others; a name that says others is a name."""
    write("units = metal.xyz", ethanol())
    succeed("units = metal.xyz", "--lr-cutoff", "none", "--units", "real", "-o", "run")
    assert "Inconsistent units" not in lmp(Path("run"), "-in", INPUT, "-var", "steps", "0")
    text = Path("run", INPUT).read_text()
    Path("run", INPUT).write_text(text.replace("units           real", "units           metal"))
    assert "Inconsistent units" in lmp(Path("run"), "-in", INPUT, "-var", "steps", "0", "-var", "timestep", "1e-4")


@needs_lammps
def test_long_names_do_not_become_lines_of_the_data_file():
    """LAMMPS reads 255 characters of the first line, and the rest as the second."""
    folder = Path("a" * 200, f"{'b' * 45} 24 atoms")
    folder.mkdir(parents=True)
    write(folder / "ethanol.xyz", ethanol())
    succeed(str(folder / "ethanol.xyz"), "-o", "run")
    assert "Loop time" in lmp(Path("run"), "-in", INPUT, "-var", "steps", "0")


def test_names_that_would_make_lines_are_refused():
    """By the command line, as wrong usage, and by what writes the input, for scripts."""
    for name in ("a\nprint hello.xyz", "a\rb.xyz", "a\x1bb.xyz", "a\u2028b.xyz"):
        write(name, ethanol(), format="extxyz")
        message = fail(name, code=2)
        assert re.search("control characters?.*rename it", message)
        assert name not in message  # which would be several lines
        with pytest.raises(ValueError, match="names with line breaks or control characters"):
            word(name)
    write("ethanol.xyz", ethanol())
    Path("mo\ndel").symlink_to("nowhere")
    for name, code in (("mo\ndel", 2), ('three"""quotes', 1), ("both'\"", 1), ("W\u00f6rter", 1)):
        Path(name).unlink(missing_ok=True)
        Path(name).write_bytes((Path(so3md.__file__).parent / "models/so3lr.safetensors").read_bytes())
        assert "rename it" in fail("ethanol.xyz", "--model", name, code=code)
    assert not [path for path in Path().iterdir() if path.is_dir()]


@needs_lammps
def test_no_text_becomes_a_command():
    """Headings, titles and options as a script may give them."""
    bad = 'x\nprint "HELLO"\r\nprint "HELLO"\u2028\x85\v """" &'
    structure = LammpsStructure.of(ethanol())
    Path(DATA).write_text(structure.data_file(f"{bad}\n9 atoms"), encoding="utf-8")
    text = script(structure, ForceField("so3lr", lr_cutoff=None), Minimization(), steps=1, heading=[bad, "&", bad])
    Path(INPUT).write_text(text, encoding="utf-8")
    output = lmp(Path(), "-in", INPUT)
    assert not re.search("^HELLO", output, flags=re.MULTILINE)
    assert len(thermo(output)) == 1
    for force_field in (
        ForceField("so3lr", precision="mixed\nprint x"),
        ForceField("so3lr", device="cpu\nprint x"),
        ForceField("so3lr\nprint x"),
    ):
        with pytest.raises(ValueError, match=r"precision|device|line break"):
            script(structure, force_field, Minimization(), steps=1)


def test_overwrite_replaces_what_the_default_name_is():
    write("ethanol.xyz", ethanol())
    succeed("ethanol.xyz", "--seed", "1")
    succeed("ethanol.xyz", "--seed", "2", "--overwrite")
    assert {path.name for path in Path().iterdir()} == {"ethanol.xyz", "ethanol-lammps"}
    assert line(Path("ethanol-lammps", INPUT).read_text(), "variable seed") == "variable seed index 2"


def test_old_files_stay_where_new_ones_cannot_be_written(monkeypatch: pytest.MonkeyPatch):
    """Both of them: an input with the data of another structure would be worse than none."""
    write("ethanol.xyz", ethanol())
    succeed("ethanol.xyz", "--seed", "1")
    old = {path.name: path.read_bytes() for path in Path("ethanol-lammps").iterdir()}
    synced = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = fail("ethanol.xyz", "--seed", "2", "--overwrite")
    assert message == f"Error: ethanol-lammps/{DATA}: No space left on device"
    assert {path.name: path.read_bytes() for path in Path("ethanol-lammps").iterdir()} == old


def test_the_largest_force_is_printed():
    atoms = ethanol()
    write("ethanol.xyz", atoms)
    atoms.calc = So3kratesCalculator(lr_cutoff=None)
    sizes = np.linalg.norm(atoms.get_forces(), axis=1)
    text = succeed("ethanol.xyz", "--lr-cutoff", "none")
    found = re.search(r"Its largest force is (\S+) eV/A, on atom (\d+)$", text, flags=re.MULTILINE)
    assert float(found[1]) == pytest.approx(sizes.max(), rel=1e-3)
    assert int(found[2]) == sizes.argmax() + 1
    atoms.positions[0] += 0.4
    write("bad.xyz", atoms)
    assert "relax it first (--ensemble minimize), or check it" in succeed("bad.xyz", "--lr-cutoff", "none")


def test_files_are_never_replaced_silently():
    write("ethanol.xyz", ethanol())
    succeed("ethanol.xyz")
    succeed("ethanol.xyz")
    assert {path.name for path in Path().iterdir()} == {"ethanol.xyz", "ethanol-lammps", "ethanol-lammps-2"}
    assert "has files in it" in fail("ethanol.xyz", "-o", "ethanol-lammps")
    succeed("ethanol.xyz", "-o", "ethanol-lammps", "--overwrite", "--ensemble", "nve")
    assert "langevin" not in Path("ethanol-lammps", INPUT).read_text()


def test_it_says_in_one_line_what_is_wrong():
    write("ethanol.xyz", ethanol())
    write("uranium.xyz", Atoms("UO"))
    write("clash.xyz", Atoms("H2", [[0, 0, 0], [0, 0, 0]]))
    for arguments, expected in {
        ("nowhere.xyz",): "there is no such file",
        ("uranium.xyz",): "the structure has U, for which the model was not trained; it knows H C N O",
        ("clash.xyz",): "at the same place",
        ("ethanol.xyz", "--model", "so4lr"): "known names: so3lr",
        ("ethanol.xyz", "--ensemble", "npt"): "must be periodic in all directions",
        ("ethanol.xyz", "--coulomb", "ewald"): "coulomb ewald: the structure must be periodic in all directions",
        ("ethanol.xyz", "--coulomb", "kspace"): "must be periodic in all directions",
        ("ethanol.xyz", "--ensemble", "minimize", "--cell", "full"): "must be periodic in all directions",
        ("water", "--coulomb", "kspace", "--atom-style", "atomic"): "use charge or full",
        ("water", "--lr-cutoff", "none"): "give a cutoff",
        ("water", "--friction", "0"): "use the ensemble nve",
        ("water", "--pressure", "1"): "nvt-langevin has no such setting",
        ("water", "--ensemble", "npt", "--cell", "fixed"): "the cell cannot be fixed",
        ("water", "--ensemble", "minimize", "--pressure", "1"): "a pressure needs a cell that relaxes",
        ("water", "--ensemble", "minimize", "--fmax", "0"): "expected a positive number",
        ("water", "--ensemble", "minimize", "--fmax", "nan"): "fmax nan: expected a positive number",
        ("water", "--ensemble", "minimize", "--fmax", "1e308"): "fmax 1e+308: expected a positive number",
        ("water", "--ensemble", "minimize", "--cell", "full", "--pressure", "-1e308"): "pressure -1e+308: expected",
        ("water", "--ensemble", "minimize", "--steps", "200000000"): "steps 200000000: expected an integer",
        ("water", "--steps", "2147483648"): "steps 2147483648: expected an integer from 0 to 2.14748e+09",
        ("water", "--log-interval", "2147483648"): "log_interval 2147483648: expected an integer",
        ("water", "--spin", "0.5"): "cannot be unpaired",
        ("ethanol.xyz", "-o", "ethanol.xyz/run"): "Not a directory",
    }.items():
        assert expected in fail(*arguments), arguments
    assert not [path for path in Path().iterdir() if path.is_dir()]  # none of them left files behind
    assert "2000 is not in the range 1<=x<=1024" in fail("water", "--no-evaluate", "--threads", "2000", code=2)
    assert "--fmax does not go with --ensemble nvt" in fail("water", "--fmax", "0.1", code=2)
    assert "--temperature does not go with" in fail("water", "--ensemble", "minimize", "--temperature", "3", code=2)
    assert "--cell does not go with --ensemble nvt" in fail("water", "--cell", "full", code=2)


def test_a_model_in_a_file_is_found_from_any_directory(so3lr_path: Path):
    Path("my models").mkdir()
    Path("my models/model.safetensors").symlink_to(so3lr_path)
    write("ethanol.xyz", ethanol())
    succeed("ethanol.xyz", "--model", "my models/model.safetensors", "-o", "run")
    assert f'so3krates "{Path("my models/model.safetensors").absolute()}" charge' in Path("run", INPUT).read_text()


# --- in LAMMPS ------------------------------------------------------------------------------------------------------

#: LAMMPS's kcal/mol in 1 eV.
KCAL = 23.060549


@needs_lammps
@pytest.mark.parametrize(
    ("name", "options", "ranks"),
    [
        ("cube", (), None),
        ("cube", ("--units", "real"), 2),
        ("cube", ("--supercell", "1", "1", "2", "--atom-style", "full"), None),
        ("sheared", ("--atom-style", "full"), 2),
        ("skewed", ("--units", "real"), None),
        ("left-handed", ("--atom-style", "atomic"), 2),
        ("slab", (), 2),
        ("wire", (), None),
        ("molecule", ("--lr-cutoff", "none"), None),
        ("molecule", ("--lr-cutoff", "none", "--units", "real"), 2),
        ("molecule", ("--charge", "1", "--spin", "0.5"), None),
        ("atom", (), 2),
    ],
)
def test_lammps_finds_energy_forces_and_charges_of_ase(name: str, options: tuple[str, ...], ranks: int | None):
    atoms = STRUCTURES[name]()
    write("structure.traj", atoms)
    # No thermostat, which would add its random forces to those that LAMMPS writes
    succeed("structure.traj", "--precision", "double", "--ensemble", "nve", "-o", "run", *options)
    style = options[options.index("--atom-style") + 1] if "--atom-style" in options else "charge"
    columns = "id fx fy fz" if style == "atomic" else "id fx fy fz q"
    Path("run/in.check").write_text(
        f"include {INPUT}\n"
        'print "ENERGY $(pe:%.17g)"\n'
        f"write_dump all custom FORCES {columns} modify sort id format float %.17g\n"
    )
    output = lmp(Path("run"), "-in", "in.check", "-var", "steps", "0", ranks=ranks)
    found = np.loadtxt("run/FORCES", skiprows=9, ndmin=2)
    unit = KCAL if "real" in options else 1.0
    if "--supercell" in options:
        atoms = atoms.repeat((1, 1, 2))
    if "--charge" in options:
        atoms.info |= {"charge": 1, "spin": 0.5}
    calculator = So3kratesCalculator(precision="double")
    energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    assert abs(float(re.search(r"^ENERGY (\S+)", output, re.M)[1]) / unit - energy) < EXACT.energy_per_atom * len(atoms)
    rotation = LammpsStructure.of(atoms).rotation
    np.testing.assert_allclose(found[:, 1:4] / unit, forces @ rotation, rtol=0, atol=EXACT.forces)
    if style != "atomic":
        np.testing.assert_allclose(found[:, 4], calculator.results["charges"], rtol=0, atol=EXACT.charges)


@needs_lammps
def test_the_comment_tells_the_energy_that_lammps_finds():
    for units_option in ("metal", "real"):
        text = succeed("water", "-o", units_option, "--units", units_option, "--precision", "double")
        energy = float(re.search(r"Its energy is (\S+)", text)[1])
        assert thermo(lmp(Path(units_option), "-in", INPUT, "-var", "steps", "0"))[0][0]["PotEng"] == pytest.approx(
            energy, rel=1e-7
        )


@needs_lammps
@pytest.mark.parametrize(
    "options",
    [
        ("--ensemble", "nve"),
        ("--thermostat", "csvr"),
        ("--ensemble", "npt", "--cell", "anisotropic"),
        ("--ensemble", "npt", "--cell", "full", "--units", "real"),
        ("--ensemble", "npt", "--coulomb", "kspace"),
        ("--coulomb", "kspace", "--no-evaluate", "--atom-style", "full"),
    ],
)
def test_dynamics_conserves_what_it_should(options: tuple[str, ...]):
    # A seed, since the change of the kinetic energy, which is the scale of the drift, may come out as nearly nothing.
    succeed("water", "-o", "run", "--steps", "20", "--timestep", "0.25", "--seed", "1", *options)
    rows = thermo(lmp(Path("run"), "-in", INPUT))[0]
    assert [row["Step"] for row in rows] == [0, 10, 20]
    unit = KCAL if "real" in options else 1.0
    drift = (rows[-1]["Econserve"] - rows[0]["Econserve"]) / unit
    assert abs(drift) < 0.1 * abs(rows[-1]["KinEng"] - rows[0]["KinEng"]) / unit
    if "npt" in options:
        assert rows[-1]["Volume"] != rows[0]["Volume"]


@needs_lammps
@pytest.mark.parametrize("cell", ["fixed", "isotropic", "full"])
def test_minimisation_goes_down(cell: str):
    atoms = carbon_dioxide(1.5 * SKEWED, (True, True, True))
    write("cell.traj", atoms)
    succeed("cell.traj", "-o", "run", "--ensemble", "minimize", "--cell", cell, "--precision", "double")
    rows = thermo(lmp(Path("run"), "-in", INPUT, "-var", "steps", "20"))[0]
    assert rows[-1]["PotEng"] < rows[0]["PotEng"] - 0.01
    assert (rows[-1]["Volume"] == rows[0]["Volume"]) == (cell == "fixed")


@needs_lammps
def test_a_molecule_relaxes_in_vacuum():
    write("ethanol.xyz", ethanol())
    succeed("ethanol.xyz", "--ensemble", "minimize", "-o", "run")
    output = lmp(Path("run"), "-in", INPUT)
    assert "Stopping criterion = force tolerance" in output
    relaxed = read("run/run.data", format="lammps-data")
    relaxed.pbc = False
    relaxed.calc = So3kratesCalculator()
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() < 0.011  # LAMMPS stopped in single precision too


@needs_lammps
def test_a_run_goes_on_from_its_restart_file():
    succeed("water", "-o", "run", "--checkpoint-interval", "2", "--log-interval", "2", "--trajectory-interval", "2")
    first = thermo(lmp(Path("run"), "-in", INPUT, "-var", "steps", "4"))[0]
    again = ("-var", "restart", "run.restart.2", "-var", "name", "run2", "-var", "steps", "2")
    second = thermo(lmp(Path("run"), "-in", INPUT, *again))[0]
    assert [row["Step"] for row in first] == [0, 2, 4]
    assert [row["Step"] for row in second] == [4, 6]
    assert second[0]["PotEng"] == pytest.approx(first[-1]["PotEng"], abs=1e-3)
    assert second[0]["Temp"] == pytest.approx(first[-1]["Temp"], rel=1e-6)
    frames = read("run/run.lammpstrj", index=":"), read("run/run2.lammpstrj", index=":")
    assert [len(part) for part in frames] == [3, 2]
    assert frames[0][0].get_chemical_formula() == "H128O64"
    header = "ITEM: ATOMS id type element xu yu zu q"
    assert Path("run/run.lammpstrj").read_text().count(header) == 3
    # What the comment in the input says of a run that was killed while it wrote
    whole = Path("run/run.restart.1").read_bytes()
    Path("run/short").write_bytes(whole[: len(whole) // 2])
    result = run(["lmp", "-in", INPUT, "-var", "restart", "short"], Path("run"))
    assert "Incomplete or corrupted LAMMPS restart file" in result.stdout + result.stderr
    assert '"Incomplete or corrupted LAMMPS restart file"' in Path("run", INPUT).read_text()
    np.testing.assert_allclose(frames[1][0].positions, frames[0][-1].positions, rtol=0, atol=1e-7)


@needs_lammps
def test_velocities_of_the_file_arrive():
    atoms = carbon_dioxide(SKEWED, (True, True, False))
    atoms.set_velocities(np.random.default_rng(0).normal(size=(3, 3)) * 0.005)
    write("moving.traj", atoms)
    succeed("moving.traj", "-o", "run")
    row = thermo(lmp(Path("run"), "-in", INPUT, "-var", "steps", "0"))[0][0]
    assert row["KinEng"] == pytest.approx(atoms.get_kinetic_energy(), rel=1e-6)


@needs_lammps
def test_a_run_that_gets_too_hot_is_given_up():
    succeed("water", "-o", "run", "--max-temperature", "310", "--temperature", "309", "--friction", "1000")
    result = run(["lmp", "-in", INPUT], Path("run"))
    assert result.returncode != 0
    assert "Fix halt condition for fix-id give_up met" in result.stdout


def test_small_forces_are_reached_in_double_precision():
    options = ("water", "--ensemble", "minimize", "--no-evaluate")
    for fmax, given, expected in ((1e-4, (), "double"), (1e-3, (), "mixed"), (1e-4, ("--precision", "mixed"), "mixed")):
        text = succeed(*options, "--fmax", str(fmax), *given, "-o", f"{fmax}-{len(given)}")
        assert f"precision {expected}" in Path(f"{fmax}-{len(given)}/in.lammps").read_text()
        assert ("too little for mixed precision" in text) == (fmax < 1e-3)
