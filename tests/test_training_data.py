"""Data sets: files, units, splits and pair lists."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cell import Cell
from ase.io import write
from ase.neighborlist import primitive_neighbor_list

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from so3md.reference.graph import Structure, neighbours  # noqa: E402
from so3md.training.batches import join, make_items  # noqa: E402
from so3md.training.config import DataConfig, Source, Split, Units  # noqa: E402
from so3md.training.data import checksum, read_files  # noqa: E402
from so3md.training.sample import Sample  # noqa: E402
from so3md.training.schema import ConfigError  # noqa: E402
from so3md.training.splits import read_data, split_indices  # noqa: E402


def write_md17(path: Path, count: int = 6) -> dict[str, np.ndarray]:
    """An npz as MD17 has it, in kcal/mol and A."""
    rng = np.random.default_rng(0)
    arrays = {
        "z": np.array([8, 1, 1]),
        "R": rng.standard_normal((count, 3, 3)),
        "E": rng.standard_normal((count, 1)),
        "F": rng.standard_normal((count, 3, 3)),
    }
    np.savez(path, **arrays)
    return arrays


def test_md17_files_are_read_in_the_units_that_are_stated(tmp_path: Path) -> None:
    arrays = write_md17(tmp_path / "md17.npz")
    samples = read_files("md17.npz", DataConfig("-", units=Units("kcal/mol", "Angstrom")), tmp_path)
    factor = units.kcal / units.mol
    assert len(samples) == 6
    assert samples[2].energy == pytest.approx(arrays["E"][2, 0] * factor, rel=1e-15)
    np.testing.assert_allclose(samples[2].forces, arrays["F"][2] * factor, rtol=1e-15)
    np.testing.assert_array_equal(samples[2].structure.positions, arrays["R"][2])
    bohr = read_files("md17.npz", DataConfig("-", units=Units("Hartree", "Bohr")), tmp_path)
    np.testing.assert_allclose(bohr[1].forces, arrays["F"][1] * units.Hartree / units.Bohr, rtol=1e-15)
    np.testing.assert_allclose(bohr[1].structure.positions, arrays["R"][1] * units.Bohr, rtol=1e-15)


def test_an_npz_without_stated_units_is_refused(tmp_path: Path) -> None:
    write_md17(tmp_path / "md17.npz")
    with pytest.raises(ConfigError, match=r"data.units.energy: the key is missing"):
        read_files("md17.npz", DataConfig("-"), tmp_path)
    with pytest.raises(ConfigError, match=r"data.units.energy: unknown unit 'kcal'; did you mean 'kcal/mol'"):
        read_files("md17.npz", DataConfig("-", units=Units("kcal", "Angstrom")), tmp_path)


def test_several_files_may_have_units_of_their_own(tmp_path: Path) -> None:
    write_md17(tmp_path / "md17.npz", count=2)
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=1.5, forces=np.ones((3, 3)))
    write(tmp_path / "water.xyz", atoms, format="extxyz")
    files = [Source("md17.npz", units=Units("meV", "Angstrom")), "water.xyz"]
    samples = read_files(files, DataConfig("-"), tmp_path)
    assert [sample.origin for sample in samples] == [
        "md17.npz, structure 0",
        "md17.npz, structure 1",
        "water.xyz, structure 0",
    ]
    assert samples[2].energy == pytest.approx(1.5, rel=1e-15)
    assert samples[2].forces == pytest.approx(np.ones((3, 3)), rel=1e-7)


def test_stress_and_dipole_and_ratios_are_read(tmp_path: Path) -> None:
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    crystal.info |= {"REF_energy": -1.0, "REF_stress": np.arange(6.0), "charge": 1.0}
    crystal.arrays["h"] = np.array([0.9, 1.1])
    write(tmp_path / "a.xyz", crystal, format="extxyz")
    config = DataConfig("-", units=Units(stress="GPa"), keys={"hirshfeld_ratios": "h"})
    (sample,) = read_files("a.xyz", config, tmp_path)
    expected = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]]) * units.GPa
    np.testing.assert_allclose(sample.stress, expected, rtol=1e-12)
    np.testing.assert_allclose(sample.hirshfeld_ratios, [0.9, 1.1])
    assert sample.structure.charge == 1.0
    assert sample.forces is None


@pytest.mark.parametrize("suffix", ["xyz", "npz"])
def test_a_virial_is_minus_the_stress_times_the_volume_in_the_unit_of_energy(tmp_path: Path, suffix: str) -> None:
    virial = np.array([[6.0, 1.0, 2.0], [1.0, -4.0, 3.0], [2.0, 3.0, 5.0]])
    crystal = Atoms("NaCl", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 5], pbc=True, info={"REF_virials": virial})
    arrays = {"z": crystal.numbers, "R": crystal.positions[None], "cell": crystal.cell.array, "virials": virial[None]}
    if suffix == "xyz":
        write(tmp_path / "a.xyz", crystal, format="extxyz")
    else:
        np.savez(tmp_path / "a.npz", **arrays)
    (sample,) = read_files(f"a.{suffix}", DataConfig("-", units=Units("kcal/mol", "Bohr")), tmp_path)
    expected = -virial * (units.kcal / units.mol) / (80 * units.Bohr**3)
    np.testing.assert_allclose(sample.stress, expected, rtol=1e-7)
    assert sample.entries == {"stress": "REF_virials" if suffix == "xyz" else "virials"}


@pytest.mark.parametrize("convention", ["S", "multiplicity", "unpaired"])
def test_spins_are_read_in_the_convention_that_is_stated(tmp_path: Path, convention: str) -> None:
    stated = {"S": 0.5, "multiplicity": 2.0, "unpaired": 1.0}[convention]
    write(tmp_path / "a.xyz", Atoms("H", info={"spin": stated}), format="extxyz")
    np.savez(tmp_path / "a.npz", z=np.array([1]), R=np.zeros((1, 1, 3)), spin=np.array([stated]))
    for file in ("a.xyz", "a.npz", Source("a.xyz", spin_convention=convention)):
        common = None if isinstance(file, Source) else convention
        (sample,) = read_files(file, DataConfig("-", units=Units("eV", "A"), spin_convention=common), tmp_path)
        assert sample.structure.spin == 0.5


def test_spins_that_look_like_multiplicities_are_doubted(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", [Atoms("He", info={"spin": 1}), Atoms("H", info={"spin": 2})], format="extxyz")
    with pytest.warns(UserWarning, match=r"a.xyz: all 2 spins .* as multiplicities are"):
        read_files("a.xyz", DataConfig("-"), tmp_path)
    with pytest.raises(ConfigError, match=r"spin_convention: expected one of S, multiplicity, unpaired"):
        DataConfig("-", spin_convention="mult")


def test_the_multiplicity_of_an_npz_is_read(tmp_path: Path) -> None:
    arrays = {"z": np.array([1]), "R": np.zeros((2, 1, 3)), "multiplicity": np.array([2, 2])}
    np.savez(tmp_path / "a.npz", **arrays)
    config = DataConfig("-", units=Units("eV", "A"))
    assert [sample.structure.spin for sample in read_files("a.npz", config, tmp_path)] == [0.5, 0.5]
    np.savez(tmp_path / "a.npz", **arrays, spin=np.array([0.5, 1.5]))
    with pytest.raises(ValueError, match=r"structure 1: spin 1.5 and multiplicity 2 contradict each other"):
        read_files("a.npz", config, tmp_path)


def test_structures_are_called_by_their_number_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", [Atoms("H", positions=[[0, 0, k]]) for k in range(6)], format="extxyz")
    samples = read_files(Source("a.xyz", index="-3::2"), DataConfig("-"), tmp_path)
    assert [sample.origin for sample in samples] == ["a.xyz, structure 3", "a.xyz, structure 5"]
    assert [sample.structure.positions[0, 2] for sample in samples] == [3, 5]


def test_a_key_that_is_nowhere_is_named_with_what_looks_like_it(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", Atoms("H", info={"dft_toten": 1.0}), format="extxyz")
    with pytest.raises(ValueError, match=r"no entry 'E' for energy \(data.keys.energy\); entries .* dft_toten"):
        read_files("a.xyz", DataConfig("-", keys={"energy": "E"}), tmp_path)


def test_a_damaged_npz_is_named(tmp_path: Path) -> None:
    write_md17(tmp_path / "md17.npz")
    content = (tmp_path / "md17.npz").read_bytes()
    for damaged in (content[:200], b"no archive", b""):
        (tmp_path / "md17.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"md17.npz: "):
            read_files("md17.npz", DataConfig("-", units=Units("eV", "A")), tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"energy": "nope"}, "no entry 'nope' for energy"), ({"enrgy": "E"}, "data.keys.enrgy: unknown quantity")],
)
def test_wrong_keys_are_named(tmp_path: Path, keys: dict[str, str], message: str) -> None:
    write(tmp_path / "a.xyz", molecule("H2O"), format="extxyz")
    with pytest.raises(ValueError, match=message):
        read_files("a.xyz", DataConfig("-", keys=keys), tmp_path)


def test_a_reference_value_that_is_not_finite_is_refused_with_its_place(tmp_path: Path) -> None:
    arrays = write_md17(tmp_path / "good.npz")
    arrays["F"][3, 0, 0] = np.nan
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=r"bad.npz, structure 3: forces: holds a number that is not finite"):
        read_files("bad.npz", DataConfig("-", units=Units("eV", "Angstrom")), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing.xyz: there is no such file"):
        read_files("nothing.xyz", DataConfig("-"), tmp_path)


def test_splits_are_disjoint_and_the_same_for_the_same_seed() -> None:
    wanted = {"train": 0.7, "validation": 0.1, "test": 2}
    first, again, other = (split_indices(wanted, 20, seed) for seed in (1, 1, 2))
    assert [len(first[name]) for name in wanted] == [14, 2, 2]
    assert len(np.unique(np.concatenate(list(first.values())))) == 18
    for name in wanted:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["train"], other["train"])


def test_fractions_that_add_to_one_use_every_structure() -> None:
    for count in range(3, 40):
        parts = split_indices({"train": 0.8, "validation": 0.1, "test": 0.1}, count, 0)
        assert sum(len(part) for part in parts.values()) == count


def test_slices_and_lists_take_what_they_name() -> None:
    parts = split_indices({"train": None, "validation": "0:3", "test": [5, 7]}, 10, 0)
    np.testing.assert_array_equal(parts["validation"], [0, 1, 2])
    np.testing.assert_array_equal(parts["test"], [5, 7])
    assert sorted(parts["train"]) == [3, 4, 6, 8, 9]


def test_a_split_can_come_from_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "split.npz", idx_train=[3, 1], idx_val=[0], idx_test=[4])
    parts = split_indices({}, 5, 0, tmp_path / "split.npz")
    assert [parts[name].tolist() for name in ("train", "validation", "test")] == [[3, 1], [0], [4]]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"train": "0:5", "test": [4]}, "structure 4 is in two parts"),
        ({"train": 8, "test": 5}, "data.split.test: 5 structures wanted, but only 2 of 10 are left"),
        ({"train": [10]}, "expected indices from 0 to 9, found 10"),
    ],
)
def test_splits_that_cannot_be_are_refused(wanted: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_indices(wanted, 10, 0)


def test_files_of_a_part_belong_to_it_as_a_whole(tmp_path: Path) -> None:
    for name, count in (("a", 10), ("b", 3)):
        write(tmp_path / f"{name}.xyz", [molecule("H2O")] * count, format="extxyz")
    parts = read_data(DataConfig(train_files="a.xyz", test_files="b.xyz"), tmp_path, 0)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [9, 1, 3]
    with pytest.raises(ConfigError, match="no structures to validate with"):
        read_data(DataConfig("a.xyz", split=Split(train=5)), tmp_path, 0)


def test_the_checksum_sees_every_bit() -> None:
    sample = Sample(Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]]), energy=1.0)
    other = Sample(Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]]), energy=np.nextafter(1.0, 2.0))
    assert checksum([sample]) == checksum([sample])
    assert checksum([sample]) != checksum([other])


@pytest.mark.parametrize(
    "atoms",
    [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.6), Atoms("H", cell=[2.5, 2.5, 2.5], pbc=True), Atoms("He")],
    ids=["molecule", "crystal", "own images", "alone"],
)
def test_a_pair_stands_for_both_of_its_directions(atoms: Atoms) -> None:
    sample = Sample(Structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc))
    elements = sorted(set(atoms.numbers.tolist()))
    (item,) = make_items([sample], elements, np.zeros(len(elements)), 4.0)
    pairs = item.batch.pairs
    centre, neighbour, offset = neighbours(sample.structure, 4.0)
    directed = atoms.positions[neighbour] - atoms.positions[centre] + offset
    expected = sorted(map(tuple, np.column_stack([centre, neighbour, directed.round(6) + 0.0]).tolist()))
    first, second, vector = pairs.first.numpy(), pairs.second.numpy(), pairs.displacement.numpy().round(6)
    both = np.vstack([np.column_stack([first, second, vector + 0.0]), np.column_stack([second, first, 0.0 - vector])])
    assert sorted(map(tuple, both.tolist())) == expected


CELLS = {
    "bulk": (np.diag([5.0, 6.0, 7.0]), True),
    "triclinic": (np.array([[5.0, 0.0, 0.0], [2.0, 6.0, 0.0], [-1.5, 2.5, 4.5]]), True),
    "left-handed": (np.array([[0.0, 5.0, 0.0], [6.0, 0.0, 0.0], [0.0, 1.0, 7.0]]), True),
    "thinner than the cutoff": (np.diag([2.0, 2.5, 30.0]), True),
    "slab": (np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.5, 0.5, 20.0]]), [True, True, False]),
    "slab without a third vector": (np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.0, 0.0, 0.0]]), [True, True, False]),
    "wire": (np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.5], [0.0, 0.0, 0.0]]), [False, True, False]),
    "molecule": (np.zeros((3, 3)), False),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("atoms", [1, 2, 25])
@pytest.mark.parametrize("cutoff", [1.5, 4.0, 9.0])
def test_edges_are_those_of_ase(name: str, atoms: int, cutoff: float) -> None:
    cell, pbc = CELLS[name]
    rng = np.random.default_rng(atoms)
    structure = Structure(np.ones(atoms), rng.uniform(-12, 12, (atoms, 3)), cell, pbc)
    complete = Cell(cell).complete().array
    centre, neighbour, shift = primitive_neighbor_list("ijS", structure.pbc, complete, structure.positions, cutoff)
    order = np.lexsort((*shift.T[::-1], neighbour, centre))
    found = neighbours(structure, cutoff)
    np.testing.assert_array_equal(found[0], centre[order])
    np.testing.assert_array_equal(found[1], neighbour[order])
    np.testing.assert_allclose(found[2], shift[order] @ cell, rtol=0, atol=1e-12)


def test_a_molecule_in_a_huge_cell_needs_no_memory_for_it() -> None:
    """ASE's list takes 20 GB for this."""
    atoms = molecule("CH3CH2OH")
    free = neighbours(Structure(atoms.numbers, atoms.positions), 4.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    boxed = neighbours(Structure(atoms.numbers, atoms.positions, 5000 * np.eye(3), True), 4.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    for found, expected in zip(boxed, free, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_structures_of_different_sizes_lie_side_by_side() -> None:
    samples = [Sample(Structure(a.numbers, a.positions), energy=1.0) for a in (molecule("H2O"), molecule("CH4"))]
    items = make_items(samples, [1, 6, 8], np.array([-1.0, -2.0, -3.0]), 4.0)
    batch = join(items, None, torch.device("cpu"), torch.float64)
    assert batch.counts.tolist() == [3, 5]
    assert batch.structure.tolist() == [0] * 3 + [1] * 5
    assert len(batch.pairs) == 3 + 10
    assert batch.pairs.first[3:].min() >= 3
    assert batch.targets.energy.tolist() == [1.0 + 5.0, 1.0 + 6.0]
    assert batch.targets.forces.isnan().all()


def test_an_element_that_the_model_lacks_is_named() -> None:
    sample = Sample(Structure([9, 1], [[0, 0, 0], [0, 0, 0.9]]), origin="hf.xyz, structure 0")
    with pytest.raises(ValueError, match=r"hf.xyz, structure 0: the model has the elements \[1, 8\], not \[9\]"):
        make_items([sample], [1, 8], np.zeros(2), 4.0)
