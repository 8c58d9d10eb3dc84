"""The YAML of the pair style in the form of LAMMPS's unittest/force-styles, and what its test program does with it.

Its numbers are those of the ASE calculator (scripts/make_force_style_yaml.py), so that this compares two programs. Like
the program of LAMMPS, it takes differences relative to the smaller of two numbers, component by component.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lammps_runs import lmp, needs_lammps

DATA = Path(__file__).parent / "data" / "lammps"
SCRIPT = Path(__file__).parent.parent / "scripts" / "make_force_style_yaml.py"
#: LAMMPS's constant in metal units: 1 eV/A^3 in bar.
PRESSURE = 1.6021765e6

#: Has LAMMPS print what the test program reads from its memory.
REPORT = """
print "RESULT vdwl $(evdwl:%23.16e) coul $(ecoul:%23.16e) volume $(vol:%23.16e)"
print "STRESS $(c_virial[1]:%23.16e) $(c_virial[2]:%23.16e) $(c_virial[3]:%23.16e) &
$(c_virial[4]:%23.16e) $(c_virial[5]:%23.16e) $(c_virial[6]:%23.16e)"
write_dump all custom FORCES id fx fy fz modify sort id format float %23.16e
"""
PREPARE = """
compute virial all pressure NULL pair
thermo_style custom step evdwl ecoul vol c_virial[*]
"""


@dataclass
class Results:
    """What the YAML or LAMMPS says of one structure: energies (eV), virial (6,) in eV, forces (n, 3) in eV/A."""

    vdwl: float
    coul: float
    stress: np.ndarray
    forces: np.ndarray


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return load(DATA / "so3krates.yaml")


def load(path: Path) -> dict[str, Any]:
    """The entries of the file; PyYAML takes LAMMPS's way of writing an empty text for nothing."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {key: "" if value is None else value for key, value in entries.items()}


def expected(config: dict[str, Any], label: str) -> Results:
    rows = np.array([line.split() for line in config[f"{label}_forces"].splitlines()], dtype=float)
    assert rows[:, 0].tolist() == list(range(1, config["natoms"] + 1))
    stress = np.array(config[f"{label}_stress"].split(), dtype=float)
    return Results(float(config[f"{label}_vdwl"]), float(config[f"{label}_coul"]), stress, rows[:, 1:])


def beginning(config: dict[str, Any], newton: str, data_file: Path | str = DATA / "data.so3krates") -> str:
    """The commands with which the test program sets up the system."""
    return "\n".join(
        [
            f"variable newton_pair index {newton}",
            f"variable input_dir index {DATA}",
            f"variable data_file index {data_file}",
            *config["pre_commands"].splitlines(),
            f"include {DATA / config['input_file']}",
            *force_field(config),
        ]
    )


def force_field(config: dict[str, Any]) -> list[str]:
    coefficients = [f"pair_coeff {line.strip()}" for line in config["pair_coeff"].splitlines()]
    return [f"pair_style {config['pair_style']}", *coefficients, *config["post_commands"].splitlines()]


def execute(text: str, directory: Path, ranks: int | None = None) -> tuple[Results, str]:
    """Run an input that ends where results are wanted; returns them and what LAMMPS printed."""
    (directory / "in.test").write_text(text + REPORT, encoding="utf-8")
    output = lmp(directory, "-in", "in.test", ranks=ranks)
    values = {
        match[1]: float(match[2]) for match in re.finditer(r"(vdwl|coul|volume) +(-?\d\S+)", _last(output, "RESULT"))
    }
    stress = np.array(_last(output, "STRESS").split()[1:], dtype=float) * values["volume"] / PRESSURE
    forces = np.loadtxt(directory / "FORCES", skiprows=9)[:, 1:]
    return Results(values["vdwl"], values["coul"], stress, forces), output


def _last(output: str, word: str) -> str:
    return [line for line in output.splitlines() if line.startswith(word)][-1]


def assert_same(found: Results, wanted: Results, epsilon: float, forces_epsilon: float) -> None:
    for name, bound in (("vdwl", epsilon), ("coul", epsilon), ("stress", epsilon), ("forces", forces_epsilon)):
        first, second = np.atleast_1d(getattr(found, name)), np.atleast_1d(getattr(wanted, name))
        error = np.abs(first - second) / np.minimum(np.abs(first), np.abs(second))
        assert error.max() <= bound, (name, error.max())


def test_the_file_is_what_the_script_writes(config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On another processor the last digits differ, so numbers are compared as numbers."""
    spec = importlib.util.spec_from_file_location("make_force_style_yaml", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TARGET", tmp_path)
    module.write_yaml(DATA / "data.so3krates")
    again = load(tmp_path / "so3krates.yaml")
    assert again.keys() == config.keys()
    for label in ("init", "run"):
        assert_same(expected(again, label), expected(config, label), float(config["epsilon"]), float(config["epsilon"]))


@needs_lammps
@pytest.mark.parametrize("newton", ["on", "off"])
@pytest.mark.parametrize("ranks", [None, 2])
def test_plain(config: dict[str, Any], newton: str, ranks: int | None, tmp_path: Path):
    epsilon = float(config["epsilon"])
    start = beginning(config, newton) + PREPARE
    found, _ = execute(start + "run 0 post no", tmp_path, ranks)
    assert_same(found, expected(config, "init"), epsilon, epsilon)
    moving = """
compute pe all pe/atom pair
compute sum all reduce sum c_pe
thermo_style custom step temp evdwl ecoul vol c_virial[*] c_sum
fix 1 all nve
run 4 post no
print "SUM $(c_sum:%23.16e)"
"""
    found, output = execute(start + "run 0 post no" + moving, tmp_path, ranks)
    assert_same(found, expected(config, "run"), epsilon, 5 * epsilon)
    assert float(_last(output, "SUM").split()[1]) == pytest.approx(found.vdwl + found.coul, rel=epsilon)


@needs_lammps
@pytest.mark.parametrize("newton", ["on", "off"])
def test_restart(config: dict[str, Any], newton: str, tmp_path: Path):
    """Restart files hold the force field; only the model itself must still be there."""
    epsilon = float(config["epsilon"])
    write = beginning(config, newton) + "\nrun 0 post no\nwrite_restart so3krates.restart"
    (tmp_path / "in.write").write_text(write, encoding="utf-8")
    lmp(tmp_path, "-in", "in.write")
    found, _ = execute(f"newton {newton}\nread_restart so3krates.restart" + PREPARE + "run 0 post no", tmp_path)
    assert_same(found, expected(config, "init"), epsilon, epsilon)


@needs_lammps
def test_data_file_of_lammps(config: dict[str, Any], tmp_path: Path):
    epsilon = float(config["epsilon"])
    write = beginning(config, "on") + "\nrun 0 post no\nwrite_data so3krates.data"
    (tmp_path / "in.write").write_text(write, encoding="utf-8")
    lmp(tmp_path, "-in", "in.write")
    found, _ = execute(beginning(config, "on", "so3krates.data") + PREPARE + "run 0 post no", tmp_path)
    assert_same(found, expected(config, "init"), 10 * epsilon, 10 * epsilon)  # LAMMPS writes 16 digits


@needs_lammps
def test_virial_is_the_styles_own(config: dict[str, Any], tmp_path: Path):
    """Not one that LAMMPS sums up from forces and positions."""
    epsilon = float(config["epsilon"])
    found, _ = execute(beginning(config, "on") + "\npair_modify nofdotr" + PREPARE + "run 0 post no", tmp_path)
    assert_same(found, expected(config, "init"), epsilon, epsilon)
