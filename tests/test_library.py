"""The library for C and C++: its symbols and headers, the examples against installed trees, the C interface."""

from __future__ import annotations

import ctypes
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from c_interface import (
    ATOMIC_VIRIALS,
    DOUBLE,
    ENERGY,
    EWALD,
    FORCES,
    INPUT,
    MESH,
    MIXED,
    MODEL,
    OK,
    RUNTIME,
    SUM,
    VERSION,
    CError,
    Interface,
    ModelInfo,
    Options,
    Results,
    System,
    declared_functions,
)
from reference_data import load_system
from toy_models import VARIANTS_SO3LR2

import so3md
from so3md import So3kratesCalculator, _engine, config
from so3md.charge_and_spin import ChargeAndSpin, check_charge_and_spin
from so3md.loading import load_model

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "c_library"
SO3LR = Path(so3md.__file__).parent / "models" / "so3lr.safetensors"

PROGRAMS = {
    name: shutil.which(name)
    for name in ("cmake", "ninja", "cc", "c++", "gcc", "g++", "clang", "clang++", "nm", "valgrind")
}
needs_compilers = pytest.mark.skipif(
    None in (PROGRAMS["cmake"], PROGRAMS["ninja"], PROGRAMS["cc"], PROGRAMS["c++"]),
    reason="needs cmake, ninja, and compilers for C and C++",
)


def run(*command: str | Path, **options: Any) -> str:
    """Standard output of a program that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def config_says(*options: str) -> str:
    return run(sys.executable, "-m", "so3md.config", *options).strip()


# --- symbols and headers ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(PROGRAMS["nm"] is None, reason="needs nm")
def test_the_library_shows_what_its_header_declares_and_nothing_else() -> None:
    lines = run(PROGRAMS["nm"], "-D", "--defined-only", config.library_path()).splitlines()
    assert {line.split()[-1] for line in lines} == declared_functions()


@pytest.mark.parametrize(
    ("header", "compiler"),
    [
        *(("so3md.h", name) for name in ("gcc", "clang", "g++", "clang++")),
        ("so3md.hpp", "g++"),
        ("so3md.hpp", "clang++"),
    ],
)
def test_a_header_compiles_by_itself_without_a_warning(header: str, compiler: str, tmp_path: Path) -> None:
    cpp = compiler.endswith("++")
    if PROGRAMS[compiler] is None:
        pytest.skip(f"there is no {compiler} here")
    source = tmp_path / f"source.{'cpp' if cpp else 'c'}"
    source.write_text(f"#include <so3md/{header}>\n#include <so3md/{header}>\n")
    standard = ["-std=c++20"] if cpp else ["-std=c11", "-Wstrict-prototypes"]
    warnings = ["-Wall", "-Wextra", "-pedantic", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only"]
    run(PROGRAMS[compiler], *standard, *warnings, f"-I{config.PREFIX / 'include'}", source)


def test_the_header_is_that_of_the_source_tree() -> None:
    """An installation that is older than the checkout would test another interface."""
    for name in ("so3md.h", "so3md.hpp"):
        assert (config.PREFIX / "include/so3md" / name).read_bytes() == (ROOT / "include/so3md" / name).read_bytes()


@needs_compilers
def test_the_program_on_the_page_compiles(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    include, _, statements = re.search(r"```cpp\n(.*?)```", page, re.DOTALL)[1].partition("\n\n")
    assert include == "#include <so3md/so3md.hpp>"
    source = tmp_path / "page.cpp"
    source.write_text(f"#include <cstdio>\n#include <vector>\n{include}\nint main() {{\n{statements}{PRINT}}}\n")
    run(PROGRAMS["c++"], "-std=c++20", source, *config_says("--cflags", "--libs").split(), "-o", tmp_path / "page")
    atoms = Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    atoms.calc = So3kratesCalculator()
    bound = tolerances.MIXED_ENERGY_PER_ATOM * len(atoms)
    assert float(run(tmp_path / "page")) == pytest.approx(atoms.get_potential_energy(), abs=bound)


PRINT = 'std::printf("%.9f", results.energy);\n'


# --- examples against installed trees ---------------------------------------------------------------------------------


def build_of_the_package() -> Path | None:
    """The build folder of this checkout that the package under test came from: others may have other options."""
    here = config.library_path().read_bytes()
    builds = [library.parent for library in ROOT.glob("build/*/libso3md.*.*") if library.read_bytes() == here]
    return next(iter(builds), None)


@pytest.fixture(scope="module", params=["package", "cmake --install"])
def prefix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed tree that has been moved to another place."""
    folder = tmp_path_factory.mktemp("tree")
    if request.param == "package":
        for name in ("include", "lib", "models"):
            shutil.copytree(config.PREFIX / name, folder / "so3md" / name)
        for device in config.PREFIX.glob("so3md_cuda*.so"):
            shutil.copy(device, folder / "so3md")
        return folder / "so3md"
    build = build_of_the_package()
    if build is None:
        pytest.skip("so3md was not built in this checkout, so that there is nothing for cmake --install")
    run(PROGRAMS["cmake"], "--install", build, "--prefix", folder / "first")
    return (folder / "first").rename(folder / "second")


@pytest.fixture(scope="module")
def programs(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the examples, built by CMake against the tree."""
    build = tmp_path_factory.mktemp("examples")
    flags = "-Wall -Wextra -pedantic -Werror"
    options = [f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}"]
    configured = run(PROGRAMS["cmake"], "-S", EXAMPLES, "-B", build, "-G", "Ninja", *options)
    run(PROGRAMS["cmake"], "--build", build)
    assert "Configuring done" in configured
    found = re.search(r"so3md_DIR:PATH=(.*)", (build / "CMakeCache.txt").read_text())
    assert found
    assert Path(found[1]).is_relative_to(prefix)
    return build


def water_dimer() -> Atoms:
    """The structure of evaluate.c."""
    positions = [[4, 5, 5], [3.43, 5.77, 5], [3.43, 4.23, 5], [6.9, 5, 5], [5.94, 5, 5], [7.14, 5.66, 5.66]]
    return Atoms("OH2OH2", positions, cell=[[9, 0, 0], [1, 10, 0], [0, 0, 11]], pbc=True)


def check_c_example(output: str) -> None:
    """What evaluate.c prints are the numbers of the calculator."""
    atoms = water_dimer()
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    numbers = [np.array(re.findall(r"-?\d+\.\d+(?:e[-+]\d+)?", line), dtype=float) for line in output.splitlines()]
    exact = tolerances.EXACT
    assert len(numbers) == 2 + len(atoms)
    np.testing.assert_allclose(numbers[0], [atoms.get_potential_energy()], rtol=0, atol=exact.energy_per_atom)
    np.testing.assert_allclose(numbers[1], atoms.get_stress(), rtol=0, atol=exact.stress)
    rows = np.array(numbers[2:])
    np.testing.assert_allclose(rows[:, :3], atoms.get_forces(), rtol=0, atol=exact.forces)
    np.testing.assert_allclose(rows[:, 3], atoms.get_charges(), rtol=0, atol=exact.charges)


@needs_compilers
def test_the_c_example_gives_the_numbers_of_the_calculator(programs: Path) -> None:
    check_c_example(run(programs / "evaluate"))


@needs_compilers
@pytest.mark.skipif(PROGRAMS["valgrind"] is None, reason="needs valgrind")
def test_valgrind_finds_no_fault_and_no_leak_in_the_c_example(programs: Path) -> None:
    """With AVX2 at most: valgrind does not know AVX-512."""
    instructions = {"SO3MD_INSTRUCTION_SET": "avx2"} if "avx512" in _engine.instruction_sets() else {}
    command = ["valgrind", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"]
    done = subprocess.run(
        [*command, programs / "evaluate"], capture_output=True, text=True, env=os.environ | instructions
    )
    assert done.returncode == 0, done.stderr
    assert "ERROR SUMMARY: 0 errors" in done.stderr
    check_c_example(done.stdout)


@needs_compilers
def test_the_c_example_says_what_is_wrong_with_a_model(programs: Path, tmp_path: Path) -> None:
    done = subprocess.run([programs / "evaluate", tmp_path / "none"], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"so3md: there is no model '.*/none'.*Known names: so3lr, so3lr-fast\..*\n", done.stderr)


@needs_compilers
def test_the_cpp_example_runs_the_dynamics_of_the_calculator(programs: Path) -> None:
    rows = [re.findall(r"-?\d+\.\d+", line) for line in run(programs / "dynamics").splitlines()]
    atoms = Atoms("OH2", [[0, 0, 0.12], [0, 0.80, -0.47], [0, -0.74, -0.47]])
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    masses = np.array([[15.999], [1.008], [1.008]])
    step, unit, velocities, expected = 0.2, 0.009648533212331, np.zeros((3, 3)), []
    for number in range(201):
        if number % 20 == 0:
            potential = atoms.get_potential_energy()
            expected.append([step * number, potential, potential + 0.5 * (masses * velocities**2).sum() / unit])
        velocities += 0.5 * step * unit * atoms.get_forces() / masses
        atoms.positions += step * velocities
        velocities += 0.5 * step * unit * atoms.get_forces() / masses
    # Twelve digits are printed; what rounding of forces makes of the positions in that time moves energies by less.
    np.testing.assert_allclose(np.array(rows, dtype=float), expected, rtol=0, atol=tolerances.RANKS_TRAJECTORY)


@needs_compilers
def test_a_moved_tree_finds_the_library_of_a_device(prefix: Path) -> None:
    _skip_without_emulation()
    moved, atoms = Interface(next(prefix.glob("lib*/libso3md.*"))), molecule("H2O")
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    engine = moved.engine(moved.model(), device=b"cuda-emulation", precision=DOUBLE)
    energy = moved.evaluate(engine, moved.system(atoms)).energy
    moved.library.so3md_engine_destroy(engine)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=tolerances.EXACT.component)


@needs_compilers
@pytest.mark.parametrize(("name", "limit"), [("evaluate.c", 60), ("dynamics.cpp", 40)])
def test_a_compiler_alone_builds_an_example(name: str, limit: int, tmp_path: Path) -> None:
    source = EXAMPLES / name
    assert len(source.read_text().splitlines()) <= limit
    compiler, standard = ("cc", "-std=c11") if name.endswith(".c") else ("c++", "-std=c++20")
    options = config_says("--cflags", "--libs").split()
    run(PROGRAMS[compiler], standard, source, *options, "-o", tmp_path / "program")
    output = run(tmp_path / "program")
    if name == "evaluate.c":
        check_c_example(output)


@needs_compilers
@pytest.mark.parametrize(("wanted", "found"), [("0.1", True), ("0.0", False), ("0.2", False), ("1.0", False)])
def test_find_package_takes_versions_that_fit(wanted: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.22)\nproject(p LANGUAGES NONE)\nfind_package(so3md {wanted} QUIET)\n"
        'message(STATUS "found: ${so3md_FOUND}")\n'
    )
    place = f"-Dso3md_DIR={config_says('--cmake-dir')}"
    output = run(PROGRAMS["cmake"], "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja", place)
    assert f"found: {int(found)}" in output


# --- the C interface --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def c() -> Interface:
    return Interface()


@pytest.fixture(scope="module")
def so3lr(c: Interface) -> Iterator[c_void_p]:
    model = c.model()
    yield model
    c.library.so3md_model_destroy(model)


@pytest.fixture
def make_engine(c: Interface, so3lr: c_void_p) -> Iterator[Callable[..., c_void_p]]:
    """A function that makes an engine with options; engines are destroyed in the end."""
    engines: list[c_void_p] = []

    def make(model: c_void_p | None = None, **options: Any) -> c_void_p:
        engines.append(c.engine(model or so3lr, **{"threads": 1, "precision": DOUBLE} | options))
        return engines[-1]

    yield make
    for engine in engines:
        c.library.so3md_engine_destroy(engine)


def test_versions(c: Interface) -> None:
    header = (ROOT / "include/so3md/so3md.h").read_text()
    number = int(re.search(r"#define SO3MD_C_INTERFACE (\d+)", header)[1])
    assert c.library.so3md_c_interface() == number
    assert config.library_path().name.endswith((f".so.{number}", f".{number}.dylib"))
    project = (ROOT / "pyproject.toml").read_text()
    assert c.library.so3md_version().decode() == re.search(r'^version = "(.*)"', project, re.MULTILINE)[1]


def test_what_a_model_is(c: Interface, so3lr: c_void_p) -> None:
    info, model = ModelInfo(), load_model("so3lr")
    c.call("model_get_info", so3lr, byref(info), ctypes.sizeof(info))
    assert info.elements[: info.num_elements] == model.elements
    assert (info.cutoff, info.lr_damping) == (model.cutoff, model.long_range_damping)
    assert (info.lr_cutoff_periodic, info.lr_cutoff_molecules) == (model.long_range_cutoff, math.inf)
    assert (info.has_long_range, info.has_charges, info.has_hirshfeld_ratios) == (1, 1, 1)
    assert json.loads(info.metadata) == json.loads(model.metadata)


class Case(NamedTuple):
    atoms: Atoms
    charge: float = 0.0
    spin: float = 0.0


def water(pbc: Sequence[bool] = (True, True, True)) -> Atoms:
    system = load_system("water_64")
    return Atoms(system.numbers, system.positions, cell=system.cell, pbc=pbc)


CASES: dict[str, Callable[[], Case]] = {
    "water": lambda: Case(water()),
    "molecule": lambda: Case(molecule("CH3CH2OH")),
    "ion": lambda: Case(molecule("CH3O"), charge=-1.0),
    "radical": lambda: Case(molecule("CH3"), spin=0.5),
    "slab": lambda: Case(water((True, True, False))),
    "thin": lambda: Case(bulk("C", "diamond", a=3.57)),
    "atom": lambda: Case(Atoms("O"), spin=1.0),
}


def arrays_of(results: Results) -> dict[str, np.ndarray]:
    """The results by the names of the calculator; without those that there are none of."""
    found = {
        "energy": np.array(results.energy),
        **{name: results.array(name) for name in ("energies", "charges", "hirshfeld_ratios")},
        "forces": results.array("forces", 3),
        "components": np.array([getattr(results, f"energy_{name}") for name in COMPONENTS]),
        "virial": np.array(results.virial).reshape(3, 3),
        "stress": np.array(results.stress) if results.has_stress else None,
        "virials": results.array("atomic_virials", 3, 3),
    }
    return {name: values for name, values in found.items() if values is not None}


#: Terms of the energy: name in the C interface -> name in the calculator.
COMPONENTS = {"network": "nn", "repulsion": "zbl", "electrostatics": "electrostatics", "dispersion": "dispersion"}


def arrays_of_calculator(atoms: Atoms) -> dict[str, np.ndarray]:
    """The same from the calculator."""
    names = ["energy", "energies", "forces", "charges", "hirshfeld_ratios"]
    if atoms.pbc.any() and atoms.cell.rank == 3:
        names += ["stress", "stresses"]
    found = {name: np.array(atoms.calc.get_property(name, atoms)) for name in names}
    parts = atoms.calc.get_energy_components(atoms)
    return found | {"components": np.array([parts[name] for name in COMPONENTS.values()])}


def check_exact(results: Results, atoms: Atoms) -> None:
    """All results are those of the calculator that the atoms have."""
    found, expected, exact = arrays_of(results), arrays_of_calculator(atoms), tolerances.EXACT
    assert results.num_atoms == len(atoms)
    np.testing.assert_allclose(found["virials"].sum(axis=0), found["virial"], rtol=0, atol=exact.component)
    assert ("stress" in found) == ("stress" in expected)
    if "stress" in found:
        assert results.volume == pytest.approx(atoms.get_volume())
        symmetric = (found["virials"] + found["virials"].transpose(0, 2, 1)) / 2 / results.volume
        found["stresses"] = symmetric.reshape(-1, 9)[:, [0, 4, 8, 5, 2, 1]]
    bounds = {
        "energy": exact.energy_per_atom * len(atoms),
        "energies": exact.energy_per_atom,
        "forces": exact.forces,
        "charges": exact.charges,
        "hirshfeld_ratios": exact.charges,
        "components": exact.component,
    }
    if "stress" in found:
        bounds |= {"stress": exact.stress, "stresses": exact.stress}
    tolerances.assert_within(bounds, found, expected)


def test_results_are_those_of_the_calculator(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    """One engine for all structures, with and without periodic directions, which have cutoffs of their own."""
    engine = make_engine()
    for _ in range(2):
        for make in CASES.values():
            atoms, charge, spin = make()
            atoms.calc = So3kratesCalculator(precision="double", threads=1, charge=charge, spin=spin)
            check_exact(c.evaluate(engine, c.system(atoms, charge, spin), FORCES + ATOMIC_VIRIALS), atoms)


@pytest.mark.parametrize("name", ["water", "molecule", "radical"])
def test_mixed_results_are_those_of_the_calculator(
    c: Interface, make_engine: Callable[..., c_void_p], name: str
) -> None:
    atoms, charge, spin = CASES[name]()
    atoms.calc = So3kratesCalculator(threads=1, charge=charge, spin=spin)
    found = arrays_of(c.evaluate(make_engine(precision=MIXED), c.system(atoms, charge, spin)))
    structure = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
    cutoff = atoms.calc.long_range(atoms)["lr_cutoff"]
    bounds = tolerances.rounding(SO3LR, structure | {"charge": charge, "spin": spin}, lr_cutoff=cutoff)
    del bounds["virial"]  # the calculator has the stress
    tolerances.assert_within(bounds, found, arrays_of_calculator(atoms))


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"lr_cutoff": 8.0}, {"lr_cutoff": 8.0}),
        ({"lr_cutoff": 8.0, "lr_damping": 1.0}, {"lr_cutoff": 8.0, "lr_damping": 1.0}),
        ({"threads": 2}, {"threads": 2}),
        ({"skin": 0.0}, {}),
        ({"coulomb": EWALD}, {"coulomb": "ewald"}),
        ({"coulomb": EWALD, "ewald_accuracy": 1e-4}, {"coulomb": "ewald", "ewald_accuracy": 1e-4}),
        ({"coulomb": EWALD, "ewald_method": SUM}, {"coulomb": "ewald", "ewald_method": "sum"}),
        ({"coulomb": EWALD, "ewald_method": MESH}, {"coulomb": "ewald", "ewald_method": "mesh"}),
        ({"coulomb": EWALD, "struct_size": 48}, {}),  # of a program from before there was a choice
        ({"dispersion_tail": 1}, {"dispersion_tail": True}),
        ({"dispersion_tail": 1, "struct_size": 64}, {}),  # likewise
        ({"electric_field": (0.1, 0.0, -0.2)}, {"electric_field": (0.1, 0.0, -0.2)}),
        ({"electric_field": (0.1, 0.0, -0.2), "struct_size": 72}, {}),
        ({"device": b"cpu"}, {}),
        ({"device": b"cuda-emulation"}, {"device": "cuda-emulation"}),
    ],
)
def test_options_are_those_of_the_calculator(
    c: Interface, make_engine: Callable[..., c_void_p], options: dict[str, Any], parameters: dict[str, Any]
) -> None:
    if "emulation" in str(parameters):
        _skip_without_emulation()
    atoms = water_dimer()
    atoms.calc = So3kratesCalculator(precision="double", **{"threads": 1} | parameters)
    results = c.evaluate(make_engine(**options), c.system(atoms), FORCES + ATOMIC_VIRIALS)
    check_exact(results, atoms)


def _skip_without_emulation() -> None:
    try:
        _engine.count_devices("cuda-emulation")
    except RuntimeError as error:
        pytest.skip(str(error))


def test_a_cutoff_of_infinity_is_none(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.calc = So3kratesCalculator(precision="double", threads=1, lr_cutoff=None)
    engine = make_engine(lr_cutoff=math.inf)
    assert c.evaluate(engine, c.system(atoms)).energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    with pytest.raises(CError, match="a periodic system needs a long-range cutoff"):
        c.evaluate(engine, c.system(water_dimer()))


def test_an_ewald_sum_needs_three_periodic_directions(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    engine = make_engine(coulomb=EWALD)
    with pytest.raises(CError, match="is for systems that are periodic in all three directions") as caught:
        c.evaluate(engine, c.system(molecule("H2O")))
    assert caught.value.status == INPUT


def test_the_defaults_are_those_of_the_calculator(c: Interface, so3lr: c_void_p) -> None:
    """Also where NULL stands for them."""
    options = c.options()
    assert (options.precision, options.threads, options.device, options.skin) == (MIXED, 0, None, 0.5)
    assert (options.lr_cutoff, options.lr_damping) == (-1.0, -1.0)
    engine = c_void_p()
    c.call("engine_create", so3lr, None, byref(engine))
    atoms = water_dimer()
    atoms.calc = So3kratesCalculator()
    energy = c.evaluate(engine, c.system(atoms)).energy
    c.library.so3md_engine_destroy(engine)
    bound = tolerances.MIXED_ENERGY_PER_ATOM * len(atoms)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=bound)


def test_an_energy_alone_comes_without_forces(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    engine, system = make_engine(), c.system(water_dimer())
    whole = c.evaluate(engine, system, FORCES)
    assert whole.array("atomic_virials") is None
    energy = c.evaluate(engine, system, ENERGY)
    assert energy.energy == pytest.approx(whole.energy, abs=tolerances.EXACT.component)
    assert energy.array("forces") is None
    assert energy.array("atomic_virials") is None
    assert energy.has_stress == 0
    assert not any(energy.virial)
    assert energy.array("charges") is not None


def test_a_model_without_heads_has_no_charges(
    c: Interface, make_engine: Callable[..., c_void_p], toy_model: Callable[..., Path]
) -> None:
    path = toy_model(charge_head=None, hirshfeld_head=None, electrostatics=None, dispersion=None)
    model, info = c.model(str(path)), ModelInfo()
    c.call("model_get_info", model, byref(info), ctypes.sizeof(info))
    assert (info.has_long_range, info.has_charges, info.has_hirshfeld_ratios) == (0, 0, 0)
    engine = make_engine(model)
    c.library.so3md_model_destroy(model)  # the engine keeps what it needs
    results = c.evaluate(engine, c.system(molecule("H2O")))
    assert results.array("charges") is None
    assert results.array("hirshfeld_ratios") is None


def test_ratios_of_c6(c: Interface, make_engine: Callable[..., c_void_p], toy_model: Callable[..., Path]) -> None:
    path, atoms = toy_model(seed=1, **VARIANTS_SO3LR2["all_of_so3lr2"]), molecule("CH3CH2OH")
    model, info = c.model(str(path)), ModelInfo()
    c.call("model_get_info", model, byref(info), ctypes.sizeof(info))
    assert (info.has_hirshfeld_ratios, info.has_c6_ratios) == (1, 1)
    results = c.evaluate(make_engine(model), c.system(atoms))
    c.library.so3md_model_destroy(model)
    atoms.calc = So3kratesCalculator(path, precision="double", threads=1)
    expected = atoms.calc.get_c6_ratios(atoms)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(results.array("c6_ratios"), expected, rtol=0, atol=tolerances.EXACT.charges)


def test_models_without_ratios_of_c6_have_none(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    model, info = c.model(), ModelInfo()
    c.call("model_get_info", model, byref(info), ctypes.sizeof(info))
    assert info.has_c6_ratios == 0
    atoms = molecule("H2O")
    assert c.evaluate(make_engine(model), c.system(atoms)).array("c6_ratios") is None
    c.library.so3md_model_destroy(model)
    atoms.calc = So3kratesCalculator(threads=1)
    with pytest.raises(PropertyNotImplementedError, match="c6_ratios"):
        atoms.calc.get_c6_ratios(atoms)


def test_no_atoms_have_no_energy(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    results = c.evaluate(make_engine(), c.system(Atoms()))
    assert (results.num_atoms, results.energy) == (0, 0.0)


def test_engines_work_at_the_same_time(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    """Of one model, each in a thread of its own; an error text stays with its thread."""
    atoms = water()
    expected = c.evaluate(make_engine(), c.system(atoms)).array("forces", 3)

    def work(number: int) -> np.ndarray:
        engine, system = make_engine(), c.system(atoms)
        for _ in range(3):
            forces = c.evaluate(engine, system).array("forces", 3)
            with pytest.raises(CError, match=rf"^charge 0\.{number}: expected an integer"):
                c.evaluate(engine, c.system(atoms, charge=float(f"0.{number}")))
        return forces

    with ThreadPoolExecutor(4) as threads:
        for forces in threads.map(work, range(1, 5)):
            np.testing.assert_array_equal(forces, expected)


ARITHMETIC = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from ase.build import molecule
from c_interface import DOUBLE, MIXED, Interface

setting, libm = int(sys.argv[2], 16), ctypes.CDLL("libm.so.6")
interface, atoms = Interface(), molecule("H2O", cell=[9, 10, 11], pbc=True)
if setting > 0xFF:
    libm.fesetround(setting)
else:
    libm.feenableexcept(setting)
for precision in (MIXED, DOUBLE):
    engine = interface.engine(interface.model(), precision=precision, threads=2)
    print(interface.evaluate(engine, interface.system(atoms)).energy.hex())
print(libm.fegetround() if setting > 0xFF else libm.fegetexcept())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="numbers and functions of x86-64 Linux",
)
def test_arithmetic_of_the_program_changes_nothing(tmp_path: Path) -> None:
    """Fortran programs trap invalid operations, divisions by zero and overflow; others round downwards."""
    (tmp_path / "program.py").write_text(ARITHMETIC)
    outputs = {}
    for name, setting in (("nothing", 0), ("trap", 0x1 | 0x4 | 0x8), ("downwards", 0x400), ("to zero", 0xC00)):
        outputs[name] = run(sys.executable, tmp_path / "program.py", ROOT / "tests", hex(setting)).split()
        assert int(outputs[name][-1]) == setting
        assert outputs[name][:-1] == outputs["nothing"][:-1]


def test_names_are_looked_up_in_the_model_path(
    c: Interface, toy_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy_model()
    monkeypatch.setenv("SO3MD_MODEL_PATH", str(path.parent))
    c.library.so3md_model_destroy(c.model(path.stem))
    monkeypatch.delenv("SO3MD_MODEL_PATH")
    with pytest.raises(CError, match=f"there is no model '{path.stem}'") as caught:
        c.model(path.stem)
    assert caught.value.status == MODEL


@pytest.mark.parametrize(
    "name", ["one", "two", "so3lr", "./one", "one.safetensors", "folder", "three", "DIRECTORY/two.safetensors"]
)
def test_python_and_the_library_mean_the_same_model(
    c: Interface, toy_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In both directories or one, of the name of a shipped model, of a file in the way, of a folder, of nothing."""
    first, second, here = (tmp_path / part for part in ("first", "second", "here"))
    for place, names, cutoff in ((first, ("one", "so3lr"), 4.1), (second, ("one", "two"), 4.2), (here, ("one",), 4.3)):
        place.mkdir()
        for model in names:
            shutil.copy(toy_model(cutoff=cutoff), place / f"{model}.safetensors")
    (here / "one.safetensors").rename(here / "one")  # a file of the name of a model
    (second / "folder.safetensors").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("SO3MD_MODEL_PATH", f"{first}::{tmp_path / 'nowhere'}:{second}")
    name = name.replace("DIRECTORY", str(second))
    try:
        expected = load_model(name).cutoff
    except FileNotFoundError:
        with pytest.raises(CError, match="there is no model"):
            c.model(name)
    else:
        model, info = c.model(name), ModelInfo()
        c.call("model_get_info", model, byref(info), ctypes.sizeof(info))
        assert info.cutoff == expected
        c.library.so3md_model_destroy(model)


@pytest.mark.parametrize("charge", [-1.0, 0.0, 1.0, 2.0, 10.0, 11.0, 0.5, 2e6])
@pytest.mark.parametrize("spin", [0.0, 0.5, 1.0, 5.0, 5.5, 0.3, -0.5, 2e6])
def test_python_and_the_library_judge_charges_and_spins_alike(
    c: Interface, make_engine: Callable[..., c_void_p], charge: float, spin: float
) -> None:
    """Of water, which has ten electrons."""
    engine, refusal = make_engine(), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_charge_and_spin(10, ChargeAndSpin(charge, spin))
        except ValueError as error:
            refusal = str(error)
    system = c.system(molecule("H2O"), charge, spin)
    if refusal is None:
        c.evaluate(engine, system)
        assert c.warnings(engine).splitlines() == [str(warning.message) for warning in caught]
        return
    with pytest.raises(CError) as found:
        c.evaluate(engine, system)
    assert found.value.status == INPUT
    if abs(charge) < 1e6 and 0 <= spin < 1e6:  # else the engine says it in other words, before anything else
        assert str(found.value) == refusal


def test_a_tail_needs_three_periodic_directions(c: Interface, make_engine: Callable[..., c_void_p]) -> None:
    engine = make_engine(dispersion_tail=1)
    with pytest.raises(CError, match="dispersion_tail is for systems that are periodic in all three") as caught:
        c.evaluate(engine, c.system(molecule("H2O")))
    assert caught.value.status == INPUT


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"precision": 7}, INPUT, "precision is 7: expected SO3MD_PRECISION_MIXED or SO3MD_PRECISION_DOUBLE"),
        ({"threads": -1}, INPUT, "the number of threads is -1: expected 1 to 1024"),
        ({"threads": 1_000_000}, INPUT, "the number of threads is 1000000"),
        ({"device": b"gpu"}, INPUT, "unknown device 'gpu': expected cpu, cuda"),
        ({"device": b"cuda:77"}, RUNTIME, "device 'cuda|GPU"),
        ({"lr_cutoff": 0.0}, INPUT, r"the long-range cutoff \(lr_cutoff\) is 0 A"),
        ({"lr_cutoff": math.nan}, INPUT, r"the long-range cutoff \(lr_cutoff\) is (-)?nan A"),
        ({"lr_cutoff": 3.0}, INPUT, r"lr_cutoff 3 A is shorter than the cutoff of the network, 4\.5 A"),
        ({"lr_cutoff": 12.0, "lr_damping": -2.0}, INPUT, r"the dispersion damping length \(lr_damping\) is -2 A"),
        ({"skin": -0.5}, INPUT, "the skin of the neighbour list is -0.5 A"),
        ({"coulomb": 7}, INPUT, "coulomb is 7: expected SO3MD_COULOMB_CUTOFF or SO3MD_COULOMB_EWALD"),
        (
            {"coulomb": EWALD, "ewald_method": 3},
            INPUT,
            "ewald_method is 3: expected SO3MD_EWALD_AUTO, SO3MD_EWALD_SUM or",
        ),
        ({"ewald_method": MESH, "device": b"cuda"}, INPUT, "ewald_method 'mesh' is for the CPU"),
        ({"coulomb": EWALD, "ewald_accuracy": 5.0}, INPUT, r"accuracy of the Ewald sum \(ewald_accuracy\) is 5 eV/A"),
        ({"dispersion_tail": 2}, INPUT, r"dispersion_tail is 2: expected 1 \(yes\) or 0 \(no\)"),
        ({"electric_field": (0.0, 0.0, 200.0)}, INPUT, r"electric field \(electric_field\) is 0 0 200 V/A: expected"),
        ({"struct_size": 0}, VERSION, "so3md_options::struct_size is 0: expected 96; call so3md_options_init first"),
        ({"struct_size": 1 << 40}, VERSION, "call so3md_options_init first"),
        ({"struct_size": 104}, VERSION, "has 104 bytes: this library, so3md .*, knows 96; .* header of a later one"),
    ],
)
def test_impossible_options_are_refused(
    make_engine: Callable[..., c_void_p], options: dict[str, Any], status: int, message: str
) -> None:
    with pytest.raises(CError, match=message) as caught:
        make_engine(**options)
    assert caught.value.status == status


def _system(**fields: Any) -> Callable[[Interface], System]:
    def make(c: Interface) -> System:
        system = c.system(water_dimer())
        for name, value in fields.items():
            if name == "pbc":
                system.pbc[:] = value
            else:
                setattr(system, name, value)
        return system

    return make


def _atoms(**changes: Any) -> Callable[[Interface], System]:
    def make(c: Interface) -> System:
        atoms = water_dimer()
        for name, (index, value) in changes.items():
            getattr(atoms, name)[index] = value
        return c.system(atoms)

    return make


@pytest.mark.parametrize(
    ("make", "status", "message"),
    [
        (_system(num_atoms=-1), INPUT, "num_atoms is -1: expected 0 to"),
        (_system(num_atoms=1 << 40), INPUT, "num_atoms is 1099511627776"),
        (_system(atomic_numbers=None), INPUT, "atomic_numbers is NULL"),
        (_system(positions=None), INPUT, "positions is NULL"),
        (_system(cell=None), INPUT, "cell is NULL: expected three lattice vectors, since the structure is periodic"),
        (_system(pbc=(1, 2, 0)), INPUT, r"pbc\[1\] is 2: expected 1 \(periodic\) or 0"),
        (_system(charge=0.5), INPUT, r"charge 0\.5: expected an integer"),
        (_system(charge=math.nan), INPUT, "the total charge is (-)?nan"),
        (_system(charge=100.0), INPUT, "charge 100: the atoms have only 20 electrons to lose"),
        (_system(spin=0.3), INPUT, r"spin 0\.3: expected 0, 0\.5, 1"),
        (_system(spin=-0.5), INPUT, r"the total spin is -0\.5"),
        (_system(spin=0.5), INPUT, r"spin 0\.5.*change the charge, or the spin S by 1/2"),
        (_system(struct_size=8), VERSION, "call so3md_system_init first"),
        (_atoms(numbers=(1, 92)), INPUT, r"atom 1 is U \(atomic number 92\), for which this model was not trained"),
        (_atoms(positions=((2, 0), math.nan)), INPUT, "position"),
        (_atoms(positions=(4, [6.9, 5, 5])), INPUT, "atoms 3 and 4 are at the same place"),
    ],
)
def test_impossible_structures_are_refused(
    c: Interface,
    make_engine: Callable[..., c_void_p],
    make: Callable[[Interface], System],
    status: int,
    message: str,
) -> None:
    """The results stay as they are, and the engine goes on."""
    engine, results = make_engine(), Results()
    c.call("results_init", byref(results), ctypes.sizeof(results))
    results.energy = 42.0
    with pytest.raises(CError, match=message) as caught:
        c.call("evaluate", engine, byref(make(c)), FORCES, byref(results))
    assert caught.value.status == status
    assert results.energy == 42.0
    atoms = water_dimer()
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    assert c.evaluate(engine, c.system(atoms)).energy == pytest.approx(
        atoms.get_potential_energy(), abs=tolerances.EXACT.component
    )


@pytest.mark.parametrize("what", [-1, ATOMIC_VIRIALS, 4, 99])
def test_what_is_evaluated_must_be_known(c: Interface, make_engine: Callable[..., c_void_p], what: int) -> None:
    with pytest.raises(CError, match=f"what is {what}: expected SO3MD_ENERGY, SO3MD_FORCES, or"):
        c.evaluate(make_engine(), c.system(water_dimer()), what)


def test_null_is_an_error_or_nothing(c: Interface, so3lr: c_void_p, make_engine: Callable[..., c_void_p]) -> None:
    engine, system, handle = make_engine(), c.system(water_dimer()), c_void_p(1)
    results, info = Results(ctypes.sizeof(Results)), ctypes.sizeof(ModelInfo)
    calls = {
        "model_load": [(None, byref(handle)), (b"so3lr", None)],
        "model_get_info": [(None, byref(ModelInfo()), info), (so3lr, None, info)],
        "options_init": [(None, ctypes.sizeof(Options))],
        "system_init": [(None, ctypes.sizeof(System))],
        "results_init": [(None, ctypes.sizeof(Results))],
        "engine_create": [(None, None, byref(handle)), (so3lr, None, None)],
        "evaluate": [
            (None, byref(system), FORCES, byref(results)),
            (engine, None, FORCES, byref(results)),
            (engine, byref(system), FORCES, None),
        ],
    }
    for name, variants in calls.items():
        for arguments in variants:
            with pytest.raises(CError, match="is NULL") as caught:
                c.call(name, *arguments)
            assert caught.value.status in (INPUT, MODEL)
    assert handle.value is None  # after an error there is no object
    c.library.so3md_model_destroy(None)
    c.library.so3md_engine_destroy(None)
    assert c.warnings(None) == ""


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "directory", "missing"])
def test_files_that_are_no_models_are_refused(c: Interface, damage: str, tmp_path: Path) -> None:
    path, whole = tmp_path / "model.safetensors", SO3LR.read_bytes()
    if damage == "directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no model\n"}[damage])
    with pytest.raises(CError, match=r"model\.safetensors") as caught:
        c.model(str(path))
    assert caught.value.status == MODEL


def test_sizes_of_structs_are_those_of_the_header(c: Interface) -> None:
    """What ctypes takes them for is what the library takes, and one byte more is refused with its own number."""
    for name, struct in (("options", Options), ("system", System), ("results", Results)):
        memory, size = ctypes.create_string_buffer(4096), ctypes.sizeof(struct)
        function = getattr(c.library, f"so3md_{name}_init")
        assert function(memory, size) == OK
        assert int.from_bytes(memory.raw[:8], sys.byteorder) == size
        assert memory.raw[size:] == bytes(4096 - size)
        assert function(memory, size + 8) == VERSION
        assert f"knows {size};" in c.library.so3md_last_error().decode()
        assert function(memory, 40) == VERSION


GROWN_STRUCT = """
#include "library/versioned_struct.h"
#include <cstdio>

struct Grown { std::size_t struct_size; double first, second; };
template <> inline constexpr std::size_t so3md::kFirstSize<Grown> = offsetof(Grown, first) + sizeof(double);
const char* so3md_version(void) { return "9"; }

int main() {
  const Grown defaults{sizeof(Grown), 1.0, 2.0}, results{0, 7.0, 8.0};
  for (std::size_t size : {sizeof(Grown), sizeof(Grown) - 8}) {  // of today, of before it grew
    Grown given{size, 3.0, 4.0};
    const Grown read = so3md::read_struct(&given, defaults, "Grown");
    so3md::write_struct(results, &given, size, "Grown");
    std::printf("%g %g  %g %g %d\\n", read.first, read.second, given.first, given.second, given.struct_size == size);
  }
}
"""


@needs_compilers
def test_a_program_may_know_the_beginning_of_a_struct_only(tmp_path: Path) -> None:
    """What it does not know has the default, and nothing is written there."""
    source = tmp_path / "grown.cpp"
    source.write_text(GROWN_STRUCT)
    folders = (f"-I{ROOT / 'include'}", f"-I{ROOT / 'csrc'}")
    run(PROGRAMS["c++"], "-std=c++20", *folders, source, "-o", tmp_path / "grown")
    assert run(tmp_path / "grown").splitlines() == ["3 4  7 8 1", "3 2  7 4 1"]


def test_what_is_no_error_is_a_warning(
    c: Interface, make_engine: Callable[..., c_void_p], toy_model: Callable[..., Path]
) -> None:
    engine = make_engine()
    c.evaluate(engine, c.system(molecule("CH3")))
    assert re.fullmatch(r"charge 0 leaves 9 electrons.*an odd number of electrons.*\n", c.warnings(engine))
    c.evaluate(engine, c.system(molecule("H2O")))
    assert c.warnings(engine) == ""
    engine = make_engine(coulomb=EWALD)
    c.evaluate(engine, c.system(Atoms("OH", [[0, 0, 0], [0, 0, 1]], cell=[12, 12, 12], pbc=True), charge=-1.0))
    assert re.fullmatch(r"a periodic system has a total charge of -1 e: a uniform background.*\n", c.warnings(engine))
    model = c.model(str(toy_model(charge_embedding=False, spin_embedding=False, electrostatics=None)))
    engine = make_engine(model)
    c.library.so3md_model_destroy(model)
    c.evaluate(engine, c.system(molecule("H2O"), charge=-2.0, spin=1.0))
    lines = c.warnings(engine).splitlines()
    assert [line.partition(" changes nothing")[0] for line in lines] == ["charge -2", "spin 1"]


# --- where it is ------------------------------------------------------------------------------------------------------


def test_config_says_where_things_are() -> None:
    prefix, cmake_dir, include, library = config_says("--prefix", "--cmake-dir", "--include-dir", "--library").split(
        "\n"
    )
    assert (Path(include) / "so3md" / "so3md.h").is_file()
    assert (Path(cmake_dir) / "so3md-config.cmake").is_file()
    assert Path(library).is_file()
    assert Path(library).is_relative_to(prefix)


def test_config_without_a_library_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config, "PREFIX", tmp_path)
    with pytest.raises(SystemExit):
        config.main(["--libs"])
    assert "this so3md was installed without its C library" in capsys.readouterr().err
