"""so3md analyse on what users have: runs, dumps of LAMMPS, trajectories; the page, the numbers, and what is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.collections import s22
from ase.io import read, write
from click.testing import CliRunner, Result
from dynamics_tools import soft_spheres

from so3md import evaluate_many
from so3md.cli import main
from so3md.dynamics import Settings, Simulation
from so3md.structures import read_structure

pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed (the extra `analysis`)")

from so3md.analysis.figures import thinned
from so3md.analysis.reading import Wanted, read_trajectory
from so3md.dynamics.trajectories import FORMATS


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["analyse", *arguments])


def succeed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def numbers_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for section in document["sections"] for item in section["quantities"]}


def strict(path: str) -> dict[str, Any]:
    """A JSON file without nan and infinity."""
    return json.loads(Path(path).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# --- the directory of a run -------------------------------------------------------------------------------------------


def test_a_run_is_analysed_from_end_to_end() -> None:
    md = ["md", "water", "--ensemble", "nve", "--steps", "12", "--log-interval", "1", "--trajectory-interval", "1"]
    result = CliRunner().invoke(main, [*md, "--write-velocities", "--no-plot", "--threads", "1", "-o", "run"])
    assert result.exit_code == 0, result.output
    output = succeed("run", "--json", "run.json", "--model", "so3lr", "--threads", "1", "--every", "4")
    document = strict("run.json")
    found = numbers_of(document)
    rows = np.genfromtxt("run/log.csv", delimiter=",", names=True)
    assert found["Temperature"]["value"] == pytest.approx(rows["temperature_K"].mean(), rel=1e-12)
    assert found["Pressure"]["value"] == pytest.approx(rows["pressure_bar"].mean(), rel=1e-12)
    assert found["Density"]["note"] == "constant"
    frames = read("run/trajectory.xyz", "::4")
    assert found["Dipole of H2O"]["value"] == pytest.approx(mean_dipole(frames), rel=1e-6)
    assert 60 < found["Hydrogen bonds"]["value"] < 128
    assert document["frames"] == 4
    assert "at least 100 frames, found 4" in document["missing"]["Diffusion"]
    assert "at least 0.5 ps" in document["missing"]["Velocity spectrum"]
    for text in ("Temperature", "Not here: Diffusion", "Wrote run-report.html and run.json"):
        assert text in output
    check_page(Path("run-report.html").read_text(), atoms=192)


def test_the_infrared_spectrum_of_a_periodic_run_is_that_of_its_current() -> None:
    dimer = s22["Water_dimer"]
    dimer.set_cell(np.diag([14.0, 14.0, 14.0]))
    dimer.pbc = True
    write("dimer.xyz", dimer)
    md = ["md", "dimer.xyz", "--ensemble", "nve", "--steps", "1100", "--trajectory-interval", "6"]
    result = CliRunner().invoke(main, [*md, "--write-velocities", "--no-plot", "--threads", "1", "-o", "run"])
    assert result.exit_code == 0, result.output
    succeed("run", "--json", "run.json", "--model", "so3lr", "--threads", "1")
    sections = {section["title"]: section for section in strict("run.json")["sections"]}
    assert any("current of polarization" in note for note in sections["Infrared spectrum"]["notes"])
    assert sections["Infrared spectrum"]["quantities"][1]["value"] > 0


def mean_dipole(frames: list[Atoms]) -> float:
    """Mean size (Debye) of the dipoles of molecules that follow each other as O, H, H, in one piece."""
    sizes = []
    for atoms, prediction in zip(frames, evaluate_many(frames, threads=1), strict=True):
        assert atoms.get_chemical_symbols()[:6] == ["O", "H", "H"] * 2
        molecules, masses = atoms.positions.reshape(-1, 3, 3), atoms.get_masses().reshape(-1, 3, 1)
        apart = molecules - (masses * molecules).sum(axis=1, keepdims=True) / masses.sum(axis=1, keepdims=True)
        assert np.abs(apart).max() < 2
        dipoles = (prediction.charges.reshape(-1, 3, 1) * apart).sum(axis=1)
        sizes.append(np.linalg.norm(dipoles, axis=1).mean() / units.Debye)
    return float(np.mean(sizes))


def check_page(page: str, atoms: int) -> None:
    """Self-contained: nothing that a browser would fetch; names of XML stay as they are."""
    assert re.findall(r"""(?:src|href|action)\s*=\s*["'](?!#)""", page) == []
    assert re.findall(r"@import|url\((?!#)|<link|<iframe|fetch\(|XMLHttpRequest|import\(", page) == []
    data = json.loads(re.search(r'<script type="application/json" id="structure">(.*?)</script>', page)[1])
    assert len(data["elements"]) == len(data["positions"]) == atoms
    assert page.count("<svg") >= 3
    assert len(page) < 1_000_000


def test_langevin_dynamics_conserves_nothing_and_says_so() -> None:
    with Simulation.start(soft_spheres(), Settings(seed=1, log_interval=1), "run") as simulation:
        simulation.run(200)
    succeed("run", "--json", "a.json", "--frame-interval", "50")
    document = strict("a.json")
    assert "Langevin" in document["missing"]["Conserved energy drift"]
    assert numbers_of(document)["Temperature"]["error"] is None or numbers_of(document)["Temperature"]["error"] > 0


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_of_runs_are_read_alike(name: str) -> None:
    if name == "h5md":
        pytest.importorskip("h5py", reason="h5py is not installed (the extra `analysis`)")
    settings = Settings(ensemble="nve", seed=1, temperature=50, trajectory_interval=2)
    frames: list[np.ndarray] = []
    velocities = name not in ("dcd", "xtc")
    with Simulation.start(
        soft_spheres(), settings, "run", trajectory_format=name, write_velocities=velocities
    ) as simulation:
        simulation.run(8, on_step=lambda _: frames.append(simulation.atoms.positions.copy()))
        last = simulation.atoms.get_velocities()
    trajectory = read_trajectory(Path("run"), Wanted())
    assert len(trajectory) == 5
    np.testing.assert_allclose(trajectory.times, [0, 0.001, 0.002, 0.003, 0.004], atol=1e-6)
    rounding = {"xyz": 1e-7, "traj": 1e-12, "h5md": 1e-6, "dcd": 1e-6, "xtc": 1e-3}[name]  # digits, or float of 5 A
    np.testing.assert_allclose(trajectory.positions[1:], np.array(frames)[1::2], atol=rounding)
    np.testing.assert_allclose(trajectory.cells, np.tile(5.3 * np.eye(3), (5, 1, 1)), atol=1e-5)
    assert trajectory.numbers.tolist() == [18] * 4
    assert trajectory.pbc.all()
    if velocities:
        np.testing.assert_allclose(trajectory.velocities[-1], last * 1e3 * units.fs, atol=1e-5)


def test_begin_leaves_out_frames_and_rows() -> None:
    with Simulation.start(soft_spheres(), Settings(ensemble="nve", log_interval=1, trajectory_interval=1), "run") as it:
        it.run(10)
    trajectory = read_trajectory(Path("run"), Wanted(begin=0.003))
    assert trajectory.times[0] == pytest.approx(0.003)
    assert trajectory.log["time_ps"][0] == pytest.approx(0.003)
    assert len(trajectory) == len(trajectory.log["step"]) == 5
    with pytest.raises(ValueError, match=r"the last frame is at 0\.005 ps"):
        read_trajectory(Path("run"), Wanted(begin=1.0))


# --- LAMMPS -----------------------------------------------------------------------------------------------------------

_LOG = """LAMMPS (22 Jul 2025)
units           {units}
Setting up Verlet run ...
  Time step     : {step}
   Step          Temp          PotEng         Press          Econserve
         0   300            -10             100            -9
        10   310            -11             200            -9.1
        20   320            -12             300            -9.2
Loop time of 1 on 1 procs for 20 steps with 3 atoms
   Step          Temp          PotEng         Press          Econserve
        20   320            -12             300            -9.2
        30   330            -13             400            -9.3
Loop time of 1 on 1 procs for 10 steps with 3 atoms
"""


def write_dump(path: str, columns: str, cell: np.ndarray | None = None) -> np.ndarray:
    """Four frames of a molecule of water, at steps 0 to 30, in another order in each; returns positions (4, 3, 3)."""
    rng = np.random.default_rng(12)
    positions = molecule("H2O").positions + 5 + 0.01 * rng.normal(size=(4, 3, 3))
    cell = np.diag([11.0, 12.0, 13.0]) if cell is None else cell
    (xy, xz, yz), (lx, ly, lz) = (cell[1, 0], cell[2, 0], cell[2, 1]), np.diag(cell)
    lines = []
    for number, frame in enumerate(positions):
        lines += ["ITEM: TIMESTEP", str(10 * number), "ITEM: NUMBER OF ATOMS", "3"]
        if xy or xz or yz:
            low, high = min(0, xy, xz, xy + xz), lx + max(0, xy, xz, xy + xz)
            lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp", f"{low} {high} {xy}"]
            lines += [f"{min(0, yz)} {ly + max(0, yz)} {xz}", f"0 {lz} {yz}"]
        else:
            lines += ["ITEM: BOX BOUNDS pp pp pp", f"0 {lx}", f"0 {ly}", f"0 {lz}"]
        lines.append(f"ITEM: ATOMS id {columns} xu yu zu vx vy vz q")
        for index in np.roll(np.arange(3), number):
            kind = {"type": str(1 if index == 0 else 2), "element": "O" if index == 0 else "H"}[columns]
            x, y, z = frame[index]
            lines.append(f"{index + 1} {kind} {x} {y} {z} 1 2 3 {-0.8 if index == 0 else 0.4}")
    Path(path).write_text("\n".join(lines) + "\n")
    return positions


@pytest.mark.parametrize(
    ("system", "step", "pressure", "energy"), [("metal", 0.0005, 1, 1), ("real", 0.5, 1.01325, 23.06)]
)
def test_a_dump_of_lammps_is_read_with_its_log(system: str, step: float, pressure: float, energy: float) -> None:
    positions = write_dump("run.lammpstrj", "element")
    Path("log.lammps").write_text(_LOG.format(units=system, step=step))
    trajectory = read_trajectory(Path("run.lammpstrj"), Wanted())
    np.testing.assert_allclose(trajectory.positions, positions, atol=1e-12)
    np.testing.assert_allclose(trajectory.times, [0, 0.005, 0.01, 0.015], rtol=1e-12)
    assert trajectory.numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(trajectory.charges[2], [-0.8, 0.4, 0.4])
    per_ps = 1 if system == "metal" else 1000
    np.testing.assert_allclose(trajectory.velocities[3], np.tile([1, 2, 3], (3, 1)) * per_ps, rtol=1e-9)
    np.testing.assert_allclose(trajectory.log["temperature_K"], [300, 310, 320, 330])
    np.testing.assert_allclose(trajectory.log["pressure_bar"], np.array([100, 200, 300, 400]) * pressure)
    np.testing.assert_allclose(trajectory.log["potential_eV"], -np.array([10, 11, 12, 13]) / energy, rtol=1e-4)
    succeed("run.lammpstrj", "--json", "a.json")
    found = numbers_of(strict("a.json"))
    assert found["Temperature"]["value"] == pytest.approx(315)
    assert found["Dipole of H2O"]["value"] > 1


def test_types_of_a_dump_need_elements() -> None:
    cell = np.array([[11.0, 0, 0], [2.0, 12.0, 0], [-1.0, 1.5, 13.0]])
    positions = write_dump("run.dump", "type", cell)
    result = run("run.dump")
    assert result.exit_code == 1
    assert "give the elements of its 2 types with --elements" in result.output
    assert "expected elements of 2 types, found 1" in run("run.dump", "--elements", "O").output
    assert "'Xq'" in run("run.dump", "--elements", "O,Xq").output
    trajectory = read_trajectory(Path("run.dump"), Wanted(elements=["O", "H"], frame_interval=2.0))
    assert trajectory.numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(trajectory.cells[0], cell, atol=1e-12)
    np.testing.assert_allclose(trajectory.positions, positions, atol=1e-12)
    np.testing.assert_allclose(trajectory.times, [0, 0.002, 0.004, 0.006])
    succeed("run.dump", "--elements", "O,H")


def test_logs_in_other_units_are_refused() -> None:
    write_dump("run.lammpstrj", "element")
    Path("log.lammps").write_text(_LOG.format(units="lj", step=1))
    expected = "units metal or real, found lj"
    assert expected in run("run.lammpstrj", "--log", "log.lammps").output
    output = succeed("run.lammpstrj")  # it may be another's
    assert f"Without the log beside the dump: log.lammps: expected a log in {expected}" in output
    Path("run.log").write_text(_LOG.format(units="metal", step=0.001))  # as inputs of so3md lammps have it
    assert "With the log run.log" in succeed("run.lammpstrj", "-o", "b.html")


# --- trajectories of others -------------------------------------------------------------------------------------------


def shaken_water(frames: int) -> list[Atoms]:
    rng, water = np.random.default_rng(13), read_structure("water")
    result = []
    for _ in range(frames):
        atoms = water.copy()
        atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
        atoms.wrap()
        atoms.arrays["initial_charges"] = np.where(atoms.numbers == 8, -0.8, 0.4)
        result.append(atoms)
    return result


def test_extended_xyz_keeps_its_cell() -> None:
    write("water.xyz", shaken_water(6), format="extxyz")
    output = succeed("water.xyz", "--json", "a.json", "--frame-interval", "1")
    found = numbers_of(strict("a.json"))
    assert found["Peak of g(r) H-O"]["value"] == pytest.approx(0.97, abs=0.05)
    assert found["Peak of g(r) O-O"]["value"] == pytest.approx(2.8, abs=0.2)
    assert found["Density"]["value"] == pytest.approx(1.004, abs=0.001)
    assert found["Dipole of H2O"]["value"] > 1
    assert "the frames have no velocities" in output


def test_a_molecule_in_vacuum_says_what_it_has_not() -> None:
    write("water.xyz", [molecule("H2O")] * 3)
    output = succeed("water.xyz")
    assert "Radial distribution functions: they need a system that is periodic" in output
    assert "Density: the system is not periodic in all directions" in output


def test_frames_must_have_the_same_atoms() -> None:
    write("mixed.xyz", [molecule("H2O"), molecule("CH4")])
    assert "expected 3 atoms in each frame, found 5 in frame 1" in run("mixed.xyz").output


def test_files_that_are_missing_are_named() -> None:
    assert "nothing.xyz: no such file" in run("nothing.xyz").output
    Path("empty").mkdir()
    assert "is not the directory of a run" in run("empty").output
    for name in ("all/replica-1", "all/replica-2"):
        Path(name).mkdir(parents=True)
        Path(name, "run.json").write_text("{}")
    assert "holds several runs; give one of them: all/replica-1, all/replica-2" in run("all").output
    Path("a.dcd").write_bytes(b"no frames")
    assert "with --structure" in run("a.dcd").output
    write("water.xyz", [molecule("H2O")] * 3)
    Path("bad.log").write_text("units metal\n")
    assert "expected tables that begin with Step" in run("water.xyz", "--log", "bad.log").output
    assert "bad.csv: no such file" in run("water.xyz", "--log", "bad.csv").output


def test_existing_files_are_replaced_only_if_asked() -> None:
    write("water.xyz", [molecule("H2O")] * 3)
    Path("a.html").write_text("mine")
    result = run("water.xyz", "-o", "a.html")
    assert result.exit_code == 2
    assert "a.html exists" in result.output
    assert Path("a.html").read_text() == "mine"
    succeed("water.xyz", "-o", "a.html", "--overwrite")
    assert "<html" in Path("a.html").read_text()


def test_names_of_files_are_text_in_the_page() -> None:
    Path("<b>&").mkdir()
    write("<b>&/w.xyz", [molecule("H2O")] * 3, format="extxyz")
    succeed("<b>&/w.xyz", "-o", "a.html")
    assert "&lt;b&gt;&amp;/w.xyz" in Path("a.html").read_text()
    assert "<b>" not in Path("a.html").read_text()


def test_without_mdanalysis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write("water.xyz", [molecule("H2O")] * 3)
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    result = run("water.xyz")
    assert result.exit_code == 1
    assert "pip install '.[analysis]'" in result.output


def test_thinned_curves_keep_their_peaks() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 1000)
    y[54_321], y[77_777] = 7.0, -3.0
    few_x, few_y = thinned(x, y)
    assert len(few_x) < 1300
    assert (np.diff(few_x) > 0).all()
    assert few_y.max() == 7
    assert few_y.min() == -3


# --- in a browser -----------------------------------------------------------------------------------------------------

_BROWSERS = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next((path for path in _BROWSERS if path), None)


#: Drags, moves without a button, zooms and goes back, and writes into the title what each has changed. Frames are
#: timers here: without a screen a browser draws them when it likes.
_FRAMES = "<head><script>window.requestAnimationFrame = (draw) => setTimeout(draw, 0);</script>"
_HANDS = """<script>(async function () {
  const canvas = document.getElementById("viewer"), seen = [canvas.toDataURL()];
  canvas.setPointerCapture = () => {};
  const point = (name, x, y) => canvas.dispatchEvent(new PointerEvent(name, { pointerId: 1, clientX: x, clientY: y }));
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const look = async () => { await frame(); seen.push(canvas.toDataURL()); };
  point("pointerdown", 100, 100); point("pointermove", 200, 160); point("pointerup", 200, 160); await look();
  point("pointermove", 300, 160); await look();
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, cancelable: true })); await look();
  canvas.dispatchEvent(new Event("dblclick")); await look();
  document.title = [seen[0] !== seen[1], seen[1] === seen[2], seen[2] !== seen[3], seen[4] === seen[0]].join(" ");
})();</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here, in which the page would be opened")
def test_a_browser_draws_the_structure_and_turns_it() -> None:
    write("water.xyz", shaken_water(3), format="extxyz")
    succeed("water.xyz", "-o", "a.html")
    page = Path("a.html").read_text()
    Path("a.html").write_text(page.replace("<head>", _FRAMES).replace("</body>", _HANDS))
    browser = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=9000"]
    options = [f"--user-data-dir={Path.cwd() / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    address = Path("a.html").resolve().as_uri()
    shown = subprocess.run([*browser, *options, address], capture_output=True, text=True, timeout=300, check=True)
    assert 'data-drawn="192"' in shown.stdout
    assert "<title>true true true true</title>" in shown.stdout
    assert "Uncaught" not in shown.stderr
