"""Programs that take a calculator of ASE, as docs/recipes/other_programs.md shows them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.socketio import SocketIOCalculator
from ase.io import read, write
from ase.optimize import BFGS
from optional_programs import needs
from sanitizers import patience

from so3md import So3kratesCalculator, evaluate_many

PAGE = (Path(__file__).parents[1] / "docs" / "recipes" / "other_programs.md").read_text(encoding="utf-8")
FLAT = 1e-3  # eV: between two relaxations of a small molecule until 0.01 eV/A


@pytest.fixture(scope="module")
def lowest_energy() -> float:
    atoms = molecule("CH3OH")
    atoms.calc = So3kratesCalculator(threads=1)
    BFGS(atoms, logfile=None).run(fmax=0.01)
    return float(atoms.get_potential_energy())


@needs("geometric")
def test_geometric(tmp_path: Path, lowest_energy: float) -> None:
    write(tmp_path / "molecule.xyz", molecule("CH3OH"), format="xyz")
    (command,) = re.findall(r"^geometric-optimize (.*)$", PAGE, re.MULTILINE)
    result = subprocess.run(
        f"{Path(sys.executable).parent}/geometric-optimize {command}",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience(120),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    relaxed = read(tmp_path / "molecule_optim.xyz", format="xyz")
    assert next(evaluate_many([relaxed])).energy == pytest.approx(lowest_energy, abs=FLAT)


def test_janus_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowest_energy: float) -> None:
    reason = "janus-core is not installed (pip install janus-core)"
    monkeypatch.chdir(tmp_path)
    optimization = pytest.importorskip("janus_core.calculations.geom_opt", reason=reason)
    atoms = molecule("CH3OH")
    atoms.calc = So3kratesCalculator(threads=1)
    run = optimization.GeomOpt(struct=atoms, fmax=0.01, filter_class=None)
    run.run()
    assert run.struct.get_potential_energy() == pytest.approx(lowest_energy, abs=FLAT)


CLIENT = """
from ase.calculators.socketio import SocketClient
from ase.io import read
from so3md import So3kratesCalculator
atoms = read("start.xyz")
atoms.calc = So3kratesCalculator(threads=1)
SocketClient(unixsocket="{name}").run(atoms)
"""


def test_a_socket_of_ase(tmp_path: Path, lowest_energy: float) -> None:
    atoms = molecule("CH3OH")
    write(tmp_path / "start.xyz", atoms)
    name = f"so3md_{tmp_path.name}"
    with SocketIOCalculator(unixsocket=name, timeout=patience(120)) as atoms.calc:
        client = subprocess.Popen([sys.executable, "-c", CLIENT.format(name=name)], cwd=tmp_path)
        BFGS(atoms, logfile=None).run(fmax=0.01)
        assert atoms.get_potential_energy() == pytest.approx(lowest_energy, abs=FLAT)
    assert client.wait(timeout=patience(60)) == 0


def test_mdanalysis_reads_no_cell_from_extended_xyz(tmp_path: Path) -> None:
    """If this fails, the page is to be changed: the reader has learned it."""
    reason = "MDAnalysis is not installed (the extra `analysis`)"
    package = pytest.importorskip("MDAnalysis", reason=reason)
    write(tmp_path / "box.xyz", molecule("H2O", cell=[9, 9, 9], pbc=True), format="extxyz")
    assert package.Universe(str(tmp_path / "box.xyz")).dimensions is None
