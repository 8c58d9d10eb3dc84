"""Charges and spins that stand in files where ASE does not look: read, or said not to be used."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.db import connect
from ase.io import write
from ase.io.formats import ioformats

from so3md.charge_and_spin import charge_and_spin_of
from so3md.structures import read_structure, read_structures

ACETATE = molecule("CH3COOH")[[0, 1, 2, 3, 5, 6, 7]]  # without the acidic hydrogen


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def state_of(path: str, **options: object) -> tuple[float, float]:
    """Charge and spin as they are read; nothing may be said."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return charge_and_spin_of(read_structure(path, **options))


def warning_of(path: str, **options: object) -> str:
    """The one warning that reading a neutral structure gives."""
    with pytest.warns(UserWarning, match=Path(path).name) as record:
        assert charge_and_spin_of(read_structure(path, **options)) == (0, 0)
    assert len(record) == 1
    return str(record[0].message)


# --- molfiles -------------------------------------------------------------------------------------------------------


def molfile(*properties: str, codes: dict[int, int] = MappingProxyType({})) -> str:
    """A molfile of NH4 with these property lines and charge codes of atoms."""
    atoms = [
        f"{0.6 * k:10.4f}{0.6 * (k % 2):10.4f}{0.6 * (k % 3):10.4f} {symbol:3} 0{codes.get(k, 0):3}" + "  0" * 10
        for k, symbol in enumerate("NHHHH")
    ]
    bonds = [f"  1{k:3}  1  0  0  0  0" for k in range(2, 6)]
    return "\n".join(["ammonium", "  test", "", "  5  4  0  0  0  0            999 V2000", *atoms, *bonds, *properties])


@pytest.mark.parametrize("suffix", ["sdf", "mol"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (molfile("M  END"), (0, 0)),
        (molfile("M  CHG  1   1   1", "M  END"), (1, 0)),
        (molfile("M  CHG  3   1   1   2   1   3  -4", "M  END"), (-2, 0)),
        (molfile("M  CHG  1   1  -2", "M  CHG  1   2   1", "M  END"), (-1, 0)),
        (molfile("M  RAD  1   1   2", "M  END"), (0, 0.5)),
        (molfile("M  RAD  1   1   3", "M  CHG  1   1   2", "M  END"), (2, 1)),
        (molfile("M  END", codes={0: 3}), (1, 0)),
        (molfile("M  END", codes={0: 5, 1: 6, 2: 1}), (0, 0)),
        (molfile("M  END", codes={0: 4}), (0, 0.5)),
        (molfile("M  CHG  1   2  -1", "M  END", codes={0: 3}), (-1, 0)),  # the lines replace the codes
    ],
)
def test_molfiles_have_formal_charges(text: str, expected: tuple[float, float], suffix: str):
    Path(f"ion.{suffix}").write_text(text + "\n", encoding="utf-8")
    assert state_of(f"ion.{suffix}") == expected
    assert state_of(f"ion.{suffix}", charge=4, spin=2) == (4, 2)


def test_radicals_of_one_molecule_may_couple_either_way():
    Path("ion.sdf").write_text(molfile("M  RAD  2   1   2   2   2", "M  END\n"), encoding="utf-8")
    assert "how the unpaired electrons of its radicals couple" in warning_of("ion.sdf")


def test_isotopes_of_molfiles_have_their_masses():
    Path("ion.sdf").write_text(molfile("M  ISO  2   2   2   1  15", "M  END\n"), encoding="utf-8")
    assert read_structure("ion.sdf").get_masses() == pytest.approx([15, 2.014, 1.008, 1.008, 1.008])
    Path("ion.sdf").write_text(molfile("M  END\n").replace(" H ", " D ", 1), encoding="utf-8")
    assert read_structure("ion.sdf").get_masses() == pytest.approx([14.007, 2.014, 1.008, 1.008, 1.008])
    if ioformats["sdf"].can_write:  # not so before ASE 3.27
        heavy = molecule("H2O")
        heavy.set_masses([15.999, 2.014, 2.014])
        write("heavy.sdf", heavy)
        assert read_structure("heavy.sdf").get_masses() == pytest.approx(heavy.get_masses())


V3000 = """
  test

  0  0  0     0  0            999 V3000
M  V30 BEGIN CTAB
M  V30 COUNTS 2 1 0 0 0
M  V30 BEGIN ATOM
M  V30 1 O 0 0 0 0 CHG=-1
M  V30 2 H 0 0 0.97 0
M  V30 END ATOM
M  V30 END CTAB
M  END
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (V3000, "a molfile of the kind V3000, and ASE reads V2000 only; convert it"),
        ("\n".join(molfile("M  END").splitlines()[:7]), "it should have 5 atoms, and ends after 3: it is damaged"),
        (molfile("M  END").replace("  5  4", "  9  4").replace("  1  2  1  0", "M  END", 1), "ends after 5"),
        ("\n\n\nno numbers V2000\n", "expected a molfile, whose line 4 begins with the number of atoms"),
        ("\n", "expected a molfile, whose line 4"),
    ],
)
@pytest.mark.parametrize("suffix", ["sdf", "mol"])
def test_molfiles_that_ase_misreads_are_refused(text: str, said: str, suffix: str):
    Path(f"ion.{suffix}").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"ion.{suffix}: {said}" if said.startswith(("a ", "it ")) else said):
        read_structure(f"ion.{suffix}")


def test_a_file_of_several_molecules_is_said():
    Path("ions.sdf").write_text(2 * (molfile("M  CHG  1   1   1", "M  END") + "\n$$$$\n"), encoding="utf-8")
    with pytest.warns(UserWarning, match="it holds 2 molecules, of which ASE reads the first"):
        assert charge_and_spin_of(read_structure("ions.sdf")).charge == 1


# --- PDB ------------------------------------------------------------------------------------------------------------


def pdb_line(number: int, atoms: Atoms, charge: str = "", location: str = " ", name: str | None = None) -> str:
    symbol, (x, y, z) = atoms.symbols[number], atoms.positions[number]
    name = name or f"{symbol}{number}"
    return (
        f"HETATM{number + 1:5d}  {name:<3s}{location}LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
        f"          {symbol:>2s}{charge:2s}\n"
    )


def pdb(charges: dict[int, str]) -> str:
    return "".join(pdb_line(k, ACETATE, charges.get(k, "")) for k in range(len(ACETATE)))


@pytest.mark.parametrize(
    ("charges", "expected"),
    [({}, 0), ({1: "1-"}, -1), ({1: "-1"}, -1), ({1: "1-", 2: "2-", 3: "1+"}, -2), ({0: "+"}, 1), ({0: "0+"}, 0)],
)
@pytest.mark.parametrize("end", ["", "END\n", "ENDMDL\nEND\n"])
def test_pdb_files_have_formal_charges(charges: dict[int, str], expected: float, end: str):
    Path("ion.pdb").write_text(pdb(charges) + end, encoding="utf-8")
    assert state_of("ion.pdb") == (expected, 0)


def test_frames_of_a_pdb_file_have_their_own_charges():
    frames = [pdb({1: "1-"}), pdb({}), pdb({0: "2+"})]
    Path("ions.pdb").write_text("".join(f"MODEL\n{frame}ENDMDL\n" for frame in frames) + "END\n", encoding="utf-8")
    assert [charge_and_spin_of(atoms).charge for atoms in read_structures("ions.pdb")] == [-1, 0, 2]
    assert state_of("ions.pdb") == (2, 0)
    assert state_of("ions.pdb", index=0) == (-1, 0)


def test_a_charge_of_a_pdb_file_that_is_not_understood_is_said():
    Path("ion.pdb").write_text(pdb({1: "--"}), encoding="utf-8")
    assert "the charge '--' in columns 79-80 is not understood" in warning_of("ion.pdb")


def test_alternate_locations_are_said():
    other = ACETATE.copy()
    other.positions += 0.9  # too far apart to be noticed by the distance
    both = [pdb_line(1, ACETATE, location="A", name="O"), pdb_line(1, other, location="B", name="O")]
    Path("alternate.pdb").write_text("".join([pdb_line(0, ACETATE), *both]), encoding="utf-8")
    assert "1 atom has alternate locations" in (text := warning_of("alternate.pdb"))
    assert "O of LIG A 1 is atoms 1 and 2" in text


# --- other programs -------------------------------------------------------------------------------------------------


def test_inputs_of_other_programs_have_charge_and_multiplicity():
    write("ion.com", ACETATE, format="gaussian-in", charge=-1, mult=3)
    assert state_of("ion.com") == (-1, 1)
    write("ion.nwi", ACETATE, format="nwchem-in", charge=-1, dft={"mult": 3})
    assert state_of("ion.nwi", format="nwchem-in") == (-1, 1)


#: The parts of outputs and inputs of other programs that say what a hydroxide, or triplet of it, is.
ORCA = """
                                 *****************
                                 * O   R   C   A *
                                 *****************
---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  O      0.000000    0.000000    0.000000
  H      0.000000    0.000000    0.970000

 General Settings:
 Integral files         IntName         .... ion
 Total Charge           Charge          ....   -1
 Multiplicity           Mult            ....    3
 Number of Electrons    NEL             ....   10
 Number of atoms                             ...      2

FINAL SINGLE POINT ENERGY       -75.700000000000
                             ****ORCA TERMINATED NORMALLY****
"""
GAUSSIAN = """
 Entering Gaussian System, Link 0=g16
 Charge = -1 Multiplicity = 3
 Symbolic Z-matrix:
                          Input orientation:
 ---------------------------------------------------------------------
 Center     Atomic      Atomic             Coordinates (Angstroms)
 Number     Number       Type             X           Y           Z
 ---------------------------------------------------------------------
      1          8           0        0.000000    0.000000    0.000000
      2          1           0        0.000000    0.000000    0.970000
 ---------------------------------------------------------------------
 SCF Done:  E(UB3LYP) =  -75.7000000000     A.U. after   10 cycles
"""
GAMESS = """
          *         GAMESS VERSION = 30 SEP 2021 (R2 PATCH 1)          *
 ATOM      ATOMIC                      COORDINATES (BOHR)
           CHARGE         X                   Y                   Z
 O           8.0     0.0000000000        0.0000000000        0.0000000000
 H           1.0     0.0000000000        0.0000000000        1.8330000000

 TOTAL NUMBER OF BASIS SET SHELLS             =    9
 NUMBER OF ELECTRONS                          =   10
 CHARGE OF MOLECULE                           =   -1
 SPIN MULTIPLICITY                            =    3

 FINAL UHF ENERGY IS      -75.7000000000 AFTER  10 ITERATIONS
"""
CP2K = """
 &FORCE_EVAL
   METHOD QS
   &MM
     &FORCEFIELD
       &CHARGE
         ATOM O
         CHARGE -0.8
       &END CHARGE
     &END FORCEFIELD
   &END MM
   &DFT
     BASIS_SET_FILE_NAME BASIS_MOLOPT
     UKS T
     MULTIPLICITY 3
     CHARGE -1
     &SCF
       MAX_SCF 20
     &END SCF
   &END DFT
   &SUBSYS
     &CELL
       A 10.0 0.0 0.0
       B 0.0 10.0 0.0
       C 0.0 0.0 10.0
     &END CELL
     &COORD
O 0.0 0.0 0.0
H 0.0 0.0 0.97
     &END COORD
   &END SUBSYS
 &END FORCE_EVAL
"""
ESPRESSO = """
&system
  ibrav = 0, nat = 2, ntyp = 2
  ! tot_charge = 5
  tot_charge = -1.0, nspin = 2
  tot_magnetization = 2
/
ATOMIC_SPECIES
O 15.999 O.UPF
H 1.008 H.UPF
CELL_PARAMETERS angstrom
10 0 0
0 10 0
0 0 10
ATOMIC_POSITIONS angstrom
O 0.0 0.0 0.0
H 0.0 0.0 0.97
"""
GAUSSIAN_INPUT = """%chk=ion.chk
# b3lyp/6-31g* guess=fragment=2

two fragments

-1 3 -1 1 0 3
O 0.0 0.0 0.0
H 0.0 0.0 0.97

"""


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (ORCA, "orca-output"),
        (GAUSSIAN, "gaussian-out"),
        (GAUSSIAN_INPUT, "gaussian-in"),
        (GAMESS, "gamess-us-out"),
        (ESPRESSO, "espresso-in"),
        (CP2K, "cp2k-restart"),
    ],
)
def test_files_of_other_programs_have_charge_and_multiplicity(text: str, format: str):
    Path("ion.out").write_text(text, encoding="utf-8")
    assert read_structure("ion.out", format=format).get_chemical_formula() == "HO"
    assert state_of("ion.out", format=format) == (-1, 1)
    others = {"-1.0, nspin": "2, nspin", "magnetization = 2": "magnetization = 0"}  # as Quantum ESPRESSO has them
    others |= {"....   -1": "....   2", "....    3": "....    1", "Charge = -1": "Charge = 2", "icity = 3": "icity = 1"}
    others |= {"\n-1 3 -1": "\n2 1 -1", "=   -1": "=    2", "=    3": "=    1", "CHARGE -1": "CHARGE 2"}
    for old, new in (others | {"MULTIPLICITY 3": "MULTIPLICITY 1"}).items():
        text = text.replace(old, new)
    Path("ion.out").write_text(text, encoding="utf-8")
    assert state_of("ion.out", format=format) == (2, 0)


def test_what_a_program_does_not_say_is_not_made_up():
    text = ESPRESSO.replace("tot_magnetization = 2", "tot_magnetization = -1").replace("tot_charge = -1.0,", "")
    Path("ion.pwi").write_text(text, encoding="utf-8")
    assert state_of("ion.pwi") == (0, 0)
    text = CP2K.replace("     CHARGE -1\n", "").replace("     MULTIPLICITY 3\n", "")
    Path("ion.restart").write_text(text, encoding="utf-8")
    assert state_of("ion.restart", format="cp2k-restart") == (0, 0)


def test_databases_of_ase_have_charges():
    for name in ("ions.db", "ions.json"):
        with connect(name) as database:
            database.write(ACETATE, total_charge=-1)  # "charge" is ASE's own, the sum of the initial charges
            database.write(molecule("CH3"), multiplicity=2)
            database.write(ACETATE, net_charge=-1)
        assert state_of(name, index=0) == (-1, 0)
        assert state_of(name, index=1) == (0, 0.5)
        assert "net_charge = -1: not used" in warning_of(name)


def test_chemical_json_has_charges():
    document = {
        "chemicalJson": 1,
        "atoms": {"elements": {"number": [8, 1]}, "coords": {"3d": [0, 0, 0, 0, 0, 1]}, "formalCharges": [-1, 0]},
    }
    Path("ion.cjson").write_text(json.dumps(document), encoding="utf-8")
    assert state_of("ion.cjson") == (-1, 0)
    document["properties"] = {"totalCharge": 1, "totalSpinMultiplicity": 3}
    Path("ion.cjson").write_text(json.dumps(document), encoding="utf-8")
    assert state_of("ion.cjson") == (1, 1)


# --- extended XYZ and others: what is not used is said ---------------------------------------------------------------


def commented(comment: str) -> str:
    Path("ion.xyz").write_text(f"2\n{comment}\nO 0 0 0\nH 0 0 1\n", encoding="utf-8")
    return "ion.xyz"


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("charge=-1", (-1, 0)),
        ("Charge = -1", (-1, 0)),
        ("TOTAL_CHARGE=1 Multiplicity=3", (1, 1)),
        ("charge=1 mult=3 spin=1", (1, 1)),
        ("frame of a run", (0, 0)),
    ],
)
def test_comment_lines_are_read(comment: str, expected: tuple[float, float]):
    assert state_of(commented(comment)) == expected


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("q=-1", "q = -1: not used as the total charge"),
        ("net_charge=2", "net_charge = 2: not used as the total charge"),
        ("charge: -1", "the word 'charge:' of the comment line: not used as the total charge"),
        ("unpaired_electrons=1", "unpaired_electrons = 1: not used as the total spin"),
        ("uhf=1", "uhf = 1: not used as the total spin"),
    ],
)
def test_what_looks_like_a_charge_or_a_spin_is_said(comment: str, said: str):
    assert said in warning_of(commented(comment))
    assert state_of(commented(comment), charge=-1, spin=0.5) == (-1, 0.5)


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("charge -1", r'info\["charge"\]: expected a finite number, found True'),
        ("multiplicity=0", "expected 1, 2, 3"),
        ("multiplicity=1.5", "expected 1, 2, 3"),
        ("spin=1 multiplicity=1", r"spin = 1 and multiplicity = 1 \(spin 0\), which contradict each other"),
        ("charge=1 Charge=2", "contradict each other"),
    ],
)
def test_what_cannot_be_meant_is_refused(comment: str, said: str):
    with pytest.raises(ValueError, match=said):
        charge_and_spin_of(read_structure(commented(comment)))


def test_atomic_charges_that_add_up_to_one_are_said():
    ion = molecule("OH")
    ion.set_initial_charges([-1.2, 0.2])
    for name in ("ion.traj", "ion.xyz"):
        write(name, ion)
        assert "its atomic charges add up to -1 e" in warning_of(name)
        assert state_of(name, charge=-1) == (-1, 0)
    ion.set_initial_charges([-0.4, 0.4])
    write("ion.traj", ion)
    assert state_of("ion.traj") == (0, 0)


def test_oxidation_numbers_of_a_neutral_crystal_are_not_worth_a_word():
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    write("salt.cif", crystal)
    text = Path("salt.cif").read_text(encoding="utf-8")
    ions = text + "loop_\n  _atom_type_symbol\n  _atom_type_oxidation_number\n  Na  1\n  Cl  {}\n"
    Path("salt.cif").write_text(ions.format(-1), encoding="utf-8")
    assert state_of("salt.cif") == (0, 0)
    Path("salt.cif").write_text(ions.format(-2), encoding="utf-8")
    assert "its oxidation numbers are not used" in warning_of("salt.cif")


def test_partial_occupancies_of_a_crystal_are_said():
    write("salt.cif", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    text = Path("salt.cif").read_text(encoding="utf-8")
    Path("salt.cif").write_text(text.replace("1.0000", "0.5000"), encoding="utf-8")
    assert "partial occupancy" in warning_of("salt.cif")


def test_a_data_set_is_warned_about_once():
    frames = [molecule("H2O") for _ in range(20)]
    for number, atoms in enumerate(frames):
        atoms.info["netCharge"] = np.int64(number % 2)
    write("frames.xyz", frames)
    with pytest.warns(UserWarning, match=r"netCharge = 1: not used as .*\(in 10 structures\)") as record:
        read_structures("frames.xyz")
    assert len(record) == 1
