"""The benchmark: the counted work, what one case measures, and the command. No test looks at absolute times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from click.testing import CliRunner, Result
from sanitizers import patience
from toy_models import toy_hyperparameters

from so3md import _engine, load_model
from so3md.benchmark import machine, worker
from so3md.benchmark.cases import Case, Record, System, add_limits, add_ratios, figures
from so3md.benchmark.machine import describe_machine, matrix_product_gflops
from so3md.benchmark.systems import displacement_per_step, example_system, mean_neighbours
from so3md.benchmark.work import Work, count_work
from so3md.cli import main

NEIGHBOURS_IN_WATER = 38
FAST = ("--threads", "1", "--seconds", "0.05")


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def quick_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices: where their rate does not matter, it shall not take long either."""
    monkeypatch.setattr(machine, "PRODUCT_SIZE", 64)


@pytest.fixture
def so3lr() -> dict[str, Any]:
    """The hyperparameters of SO3LR."""
    return json.loads(load_model("so3lr").metadata)["hyperparameters"]


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("bench", *arguments))


def bench_json(*arguments: str) -> Record:
    """The report of a benchmark that must succeed."""
    result = bench(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def one_line_error(*arguments: str, code: int = 1) -> str:
    result = bench(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return next(line for line in result.stderr.splitlines() if line.startswith("Error: "))


# --- the counted work -------------------------------------------------------------------------------------------------


def test_the_work_of_so3lr_in_water_is_the_documented_one(so3lr: dict[str, Any]):
    # docs/performance.md: 1.9 on the filters, 0.8 on the rest of the edges, 0.7 on nodes, 3.4 in total. That estimate
    # leaves out the node steps of the first layer (0.2 MFLOP), hence the wider bounds of nodes and total.
    work = count_work(so3lr, NEIGHBOURS_IN_WATER)
    assert work.filters == pytest.approx(1.9, abs=0.05)
    assert work.edges == pytest.approx(0.8, abs=0.1)
    assert work.nodes == pytest.approx(0.7 + 0.2, abs=0.1)
    assert work.total == pytest.approx(3.4 + 0.2, abs=0.1)


def test_the_work_of_so3lr_agrees_with_products_counted_by_hand(so3lr: dict[str, Any]):
    # Networks 4 -> 32 -> 128 for w and w', forward, again and backward, two layers, 19 pairs, 2 operations each.
    filters = 2 * (4 * 32 + 32 * 128) * 3 * 2 * 19 * 2
    # q, k, v by heads of 32, q' and k' by degrees of 32; MLP and exchange of three layers; readouts; there and back.
    projections = 3 * 4 * 32**2 + 2 * 4 * 32**2
    steps = 2 * 128**2 + 132**2
    readouts = 129 * 128 + 129 * 128 + (128 * 64 + 64 * 64 + 64)
    work = count_work(so3lr, NEIGHBOURS_IN_WATER)
    assert work.filters == pytest.approx(filters / 1e6)
    assert work.nodes == pytest.approx((2 * projections + 3 * steps + readouts) * 4 / 1e6)


def test_work_on_edges_is_proportional_to_neighbours_and_that_on_nodes_is_constant(so3lr: dict[str, Any]):
    none, one, ten = (count_work(so3lr, neighbours) for neighbours in (0, 1, 10))
    assert none.filters == none.edges == 0
    assert ten.filters == pytest.approx(10 * one.filters)
    assert ten.edges == pytest.approx(10 * one.edges)
    assert ten.nodes == one.nodes == none.nodes > 0


def test_without_tables_the_radial_networks_count(so3lr: dict[str, Any]):
    more = count_work(so3lr, 2, tables=False).filters - count_work(so3lr, 2).filters
    assert more == pytest.approx(3 * 3 * 2 * 2 * (32 * 128 + 128 * 128) / 1e6)  # layers, passes, filters, operations


def test_the_work_of_every_model_can_be_counted(toy_model: Callable[..., Path]):
    physics = ("charge_head", "hirshfeld_head", "zbl", "electrostatics", "dispersion")
    bare = {"energy_head": {"hidden": 0, "activation": "silu"}, **dict.fromkeys(physics)}
    work = {}
    for name, overrides in {"default": {}, "bare": bare, "mlp": {"residual_mlp_2": True}}.items():
        model = json.loads(load_model(toy_model(**overrides)).metadata)["hyperparameters"]
        work[name] = count_work(model, 10)
    assert work["bare"].nodes < work["default"].nodes < work["mlp"].nodes
    assert work["bare"].edges == work["default"].edges
    # The default toy has 36 features and two layers: two maps of a second MLP, forward and backward.
    assert work["mlp"].nodes - work["default"].nodes == pytest.approx(2 * 2 * 36**2 * 4 / 1e6)


def test_the_options_of_2023_add_the_products_that_they_bring():
    def work(**options: Any) -> Work:
        return count_work(toy_hyperparameters(**options), 10)

    # The third layer of the residual MLP of two layers, forward and backward.
    assert work(residual_mlp_kind="three_layers").nodes - work().nodes == pytest.approx(2 * 36**2 * 4 / 1e6)
    # Where coordinates start from the neighbours, the first layer is as dear as the second.
    start = {"initial_coordinates": {"type": "neighbour_sum", "normalization": 2.0}}
    assert work(**start).filters == pytest.approx(2 * work().filters)
    assert work(**start).edges > work().edges


def test_the_work_of_the_architecture_of_2022_agrees_with_products_counted_by_hand():
    model = toy_hyperparameters("so3krates-2022", **{"nonlocal": None})
    work = count_work(model, 10, architecture="so3krates-2022")
    # Networks 3 -> 9 -> 36 for both filters, forward, again and backward, both layers, 5 pairs, 2 operations each.
    assert work.filters == pytest.approx(2 * (3 * 9 + 9 * 36) * 3 * 2 * 5 * 2 / 1e6)
    # q, k, v by heads of 9, q' and k' by degrees of 12; exchange 39 -> 78 and its gate 3 -> 36; readout; twice.
    layer = 3 * 4 * 9**2 + 2 * 3 * 12**2 + 39 * 78 + 3 * 36
    assert work.nodes == pytest.approx((2 * layer + 36 * 36 + 36) * 4 / 1e6)


# --- systems ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("atoms", "cell"), [(192, (1, 1, 1)), (384, (1, 1, 2)), (1536, (2, 2, 2)), (2304, (2, 2, 3))])
def test_water_is_replicated_compactly(atoms: int, cell: tuple[int, int, int]):
    box, (name, water) = example_system(192)[1], example_system(atoms)
    assert name == "water"
    assert len(water) == atoms
    np.testing.assert_allclose(water.cell.array, box.cell.array * np.array(cell)[:, None])


@pytest.mark.parametrize("atoms", [1, 10, 193])
def test_other_numbers_of_atoms_are_refused(atoms: int):
    with pytest.raises(ValueError, match=r"expected 9 \(ethanol\) or a multiple of 192"):
        example_system(atoms)


def test_neighbours_are_counted_with_periodic_images():
    model = load_model("so3lr")
    assert mean_neighbours(model, Atoms("H")) == 0
    assert mean_neighbours(model, molecule("H2O")) == 2
    # Carbon in an fcc lattice of 4.4 A: 12 neighbours at 3.11 A and 6 at 4.4 A, within 4.5 A.
    assert mean_neighbours(model, bulk("C", "fcc", a=4.4)) == 18
    assert mean_neighbours(model, example_system(192)[1]) == pytest.approx(NEIGHBOURS_IN_WATER, abs=0.5)


def test_atoms_move_as_at_300_kelvin():
    atoms = example_system(1536)[1]
    velocities = displacement_per_step(atoms) / 0.5  # A/fs
    # m <v^2> = kT for each direction; 1 u A^2/fs^2 = 103.6427 eV
    temperature = (atoms.get_masses()[:, None] * velocities**2).mean() * 103.6427 / 8.617333e-5
    assert temperature == pytest.approx(300, rel=5 * np.sqrt(2 / (3 * len(atoms))))


# --- one case ---------------------------------------------------------------------------------------------------------


class FakeEngine:
    """Counts time by a clock of its own: a step takes 1 s and, every `lifetime` steps, a list 10 s."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime, self.now, self.calls = lifetime, 0.0, 0
        self.stages = {"neighbours": 0.0, "network": 0.0}
        self.rebuilds = 0

    def evaluate(self, phase: int) -> None:
        self.stages["network"] += 1
        self.now += 1
        if self.calls % self.lifetime == 0:
            self.rebuilds += 1
            self.stages["neighbours"] += 10
            self.now += 10
        self.calls += 1

    def info(self) -> Record:
        return {"neighbour_rebuilds": self.rebuilds, "stage_seconds": dict(self.stages)}


@pytest.mark.parametrize("seconds", [1.0, 25.0, 100.0])
def test_whole_lifetimes_of_the_list_are_timed(seconds: float, monkeypatch: pytest.MonkeyPatch):
    engine = FakeEngine(lifetime=5)
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: engine.now))
    times = worker.time_steps(engine, engine.evaluate, seconds)
    assert times["seconds_per_step"] == pytest.approx((5 + 10) / 5)
    assert times["stage_shares"] == pytest.approx({"neighbours": 10 / 15, "network": 5 / 15})
    assert times["steps_per_list"] == 5
    assert times["steps"] % 5 == 0


def test_a_list_that_lasts_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    engine = FakeEngine(lifetime=10**6)
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: engine.now))
    times = worker.time_steps(engine, engine.evaluate, 1.0)
    assert times["seconds_per_step"] == pytest.approx(1)
    assert times["steps_per_list"] is None
    assert times["steps"] == 2 * worker.STEPS_BEFORE_RETURN


def prepared(atoms: Atoms, directory: Path) -> System:
    return System.prepare("test", atoms, load_model("so3lr"), directory)


def test_a_case_measures_in_a_process_of_its_own(tmp_path: Path):
    system = prepared(molecule("CH3CH2OH"), tmp_path)
    answer = Case(system, "mixed", 1, "portable").run("so3lr", 12.0, 0.02)
    assert answer["instruction_set"] == "portable"
    assert answer["seconds_per_step"] > 0
    assert 0 < sum(answer["stage_shares"].values()) <= 1
    assert set(answer["startup_seconds"]) == {"import", "model", "tables"}
    assert all(seconds > 0 for seconds in answer["startup_seconds"].values())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured from /proc")
def test_memory_is_what_comes_on_top_of_the_loaded_model():
    memory = worker.PeakMemory()
    block = np.ones(64 * 2**20 // 8)  # 64 MB, written to
    del block
    assert memory.above_loaded_model()["above_kb"] / 1024 == pytest.approx(64, abs=1)


def test_a_failing_case_says_which_and_why(tmp_path: Path):
    overlapping = Atoms("H2", positions=np.zeros((2, 3)))
    with pytest.raises(RuntimeError, match=r"test, 2 atoms, mixed, 1 thread: .*same place"):
        Case(prepared(overlapping, tmp_path), "mixed", 1).run("so3lr", 12.0, 0.02)
    with pytest.raises(RuntimeError, match="SO3MD_INSTRUCTION_SET"):
        Case(prepared(molecule("H2O"), tmp_path), "mixed", 1, "sse9").run("so3lr", 12.0, 0.02)


def test_figures_follow_from_the_seconds_of_a_step(so3lr: dict[str, Any], tmp_path: Path):
    system = System("water", 1000, NEIGHBOURS_IN_WATER, 0.0, 0.0, tmp_path)
    answer = {
        "seconds_per_step": 0.0864,
        "instruction_set": "avx2",
        "lr_cutoff": 12.0,
        "stage_shares": {},
        "steps": 10,
        "steps_per_list": 10,
        "memory": {"before_kb": 100, "peak_kb": 2100, "above_kb": 2000},
        "startup_seconds": {},
    }
    record = figures(Case(system, "mixed", 2), answer, {"hyperparameters": so3lr, "architecture": "so3krates"})
    assert record["us_per_atom"] == pytest.approx(86.4)
    assert record["ns_per_day"] == pytest.approx(0.5)  # a million steps of 0.5 fs
    assert record["memory"]["kb_per_atom"] == 2.0
    products = [
        {"precision": precision, "threads": threads, "gflops": gflops}
        for precision, threads, gflops in [("mixed", 2, 80), ("mixed", 2, 100), ("mixed", 2, 900), ("mixed", 1, 1)]
    ]
    add_limits([record], products)
    assert record["limit_us_per_atom"] == pytest.approx(count_work(so3lr, NEIGHBOURS_IN_WATER).total * 1e3 / 100)
    assert record["share_of_limit"] == pytest.approx(record["limit_us_per_atom"] / 86.4)


def test_ratios_compare_what_differs_in_one_setting_only():
    def record(threads: int, instruction_set: str, us_per_atom: float, atoms: int = 192) -> Record:
        settings = {"system": "water", "atoms": atoms, "precision": "mixed"}
        return settings | {"threads": threads, "instruction_set": instruction_set, "us_per_atom": us_per_atom}

    records = [record(1, "portable", 40), record(2, "portable", 25), record(1, "avx2", 10), record(2, "avx2", 5)]
    alone = record(2, "avx2", 7, atoms=1536)
    add_ratios([*records, alone])
    assert [item["speedup_by_threads"] for item in records] == pytest.approx([1, 1.6, 1, 2])
    assert [item["speedup_over_portable"] for item in records] == pytest.approx([1, 1, 4, 5])
    assert alone["speedup_by_threads"] == 1
    assert "speedup_over_portable" not in alone


def test_the_machine_is_described_and_multiplies_matrices():
    description = describe_machine()
    assert description["cores"] >= 1
    assert description["memory_gib"] > 0
    assert matrix_product_gflops(1, seconds=0.01) > 0
    with pytest.raises(RuntimeError, match="matrix product with 1 threads failed"):
        matrix_product_gflops(1, dtype="no_such_type")


# --- the command ------------------------------------------------------------------------------------------------------


def test_bench_prints_tables_and_writes_json_and_plots():
    result = bench("--atoms", "9", "--atoms", "192", *FAST)
    assert result.exit_code == 0, result.output
    for text in ("ethanol 9", "water 192", "of limit", "attention adjoint", "kB/atom", "Start-up", "In so3md-bench:"):
        assert text in result.stdout
    names = {path.name for path in Path("so3md-bench").iterdir()}
    assert names == {"bench.json", "time_per_atom.png", "memory_per_atom.png", "stages.png"}
    for path in Path("so3md-bench").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    report = json.loads(Path("so3md-bench/bench.json").read_text())
    assert report["complete"]
    assert [case["atoms"] for case in report["cases"]] == [9, 192]
    water = report["cases"][1]
    assert water["neighbours_per_atom"] == pytest.approx(NEIGHBOURS_IN_WATER, abs=0.5)
    assert water["us_per_atom"] == pytest.approx(water["ms_per_step"] * 1e3 / 192)
    assert water["steps"] >= water["steps_per_list"] > 1


@pytest.mark.usefixtures("quick_products")
def test_bench_compares_precisions_and_instruction_sets(toy_model: Callable[..., Path]):
    options = ("--precision", "both", "--instruction-sets", *FAST)
    write("methanol.xyz", molecule("CH3OH"))
    report = bench_json("methanol.xyz", "--model", str(toy_model()), *options)
    sets = _engine.instruction_sets()
    seen = [(case["precision"], case["instruction_set"]) for case in report["cases"]]
    assert seen == [(precision, name) for precision in ("mixed", "double") for name in sets]
    assert all("speedup_over_portable" in case for case in report["cases"])
    assert [rate["precision"] for rate in report["matrix_products"]] == [precision for precision, _ in seen]
    assert not Path("so3md-bench").exists()


@pytest.mark.usefixtures("quick_products")
def test_bench_never_overwrites_silently():
    Path("out").mkdir()
    for name in ("bench.json", "stages.png", "notes.txt"):
        Path("out", name).write_text("old")
    arguments = ("--atoms", "9", "--output", "out", *FAST)
    assert "bench.json exists" in one_line_error(*arguments)
    assert Path("out/bench.json").read_text() == "old"
    assert bench(*arguments, "--overwrite").exit_code == 0
    assert json.loads(Path("out/bench.json").read_text())["complete"]
    assert Path("out/stages.png").read_bytes().startswith(b"\x89PNG")
    assert Path("out/notes.txt").read_text() == "old"


@pytest.mark.usefixtures("quick_products")
def test_bench_takes_a_structure_with_its_supercell_and_charge():
    write("ice.xyz", Atoms("OH2", [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]], cell=[4, 4, 4], pbc=True))
    report = bench_json("ice.xyz", "--supercell", "2", "1", "1", *FAST)
    (case,) = report["cases"]
    assert (case["system"], case["atoms"]) == ("ice", 6)
    assert (report["lr_cutoff"], case["lr_cutoff"]) == ("model", 12.0)
    write("hydroxide.xyz", Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]))
    report = bench_json("hydroxide.xyz", "--charge", "-1", "--lr-cutoff", "none", *FAST)
    assert report["lr_cutoff"] is None


def test_bench_says_in_one_line_what_is_wrong():
    assert "expected 9 (ethanol) or a multiple of 192" in one_line_error("--atoms", "100")
    assert "no such file" in one_line_error("missing.xyz")
    write("argon.xyz", Atoms("Ar"))
    assert "argon has Ar, but the model was trained for H C N O F P S Cl" in one_line_error("argon.xyz")
    assert not Path("so3md-bench").exists()
    assert "from 1e-06 to 86400 s" in one_line_error("--seconds", "0", code=2)


@pytest.mark.usefixtures("quick_products")
def test_bench_keeps_what_was_measured_before_a_failure():
    write("water.xyz", molecule("H2O"))
    # Without a cutoff a molecule can be evaluated, a periodic box cannot.
    result = bench("water.xyz", "--atoms", "192", "--lr-cutoff", "none", *FAST)
    assert result.exit_code == 1
    assert "Error: water, 192 atoms, mixed, 1 thread: " in result.stderr
    assert "Stopped before the end" in result.stdout
    report = json.loads(Path("so3md-bench/bench.json").read_text())
    assert not report["complete"]
    assert [case["atoms"] for case in report["cases"]] == [3]


@pytest.mark.usefixtures("quick_products")
def test_bench_without_matplotlib_has_everything_but_the_plots(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "so3md.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    result = bench("--atoms", "9", *FAST)
    assert result.exit_code == 0, result.output
    assert "No plot: it needs matplotlib" in result.output
    assert [path.name for path in Path("so3md-bench").iterdir()] == ["bench.json"]


def test_ctrl_c_shows_what_is_there_so_far(tmp_path: Path):
    arguments = ["bench", "--atoms", "9", "--threads", "1", "--threads", "2", "--seconds", "0.05", "-o", "out"]
    # The second case would take an hour.
    script = (
        "from so3md.benchmark import cases, machine; from so3md.cli import main; run = cases.Case.run\n"
        "machine.PRODUCT_SIZE = 64\n"
        "cases.Case.run = lambda case, model, cutoff, s, coulomb:"
        " run(case, model, cutoff, s if case.threads == 1 else 3600, coulomb)\n"
        f"main({arguments!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the signal goes to its processes and not to this one
    )
    assert "1 of 2" in process.stderr.readline()
    time.sleep(2)  # most likely amid the second case; before or after it begins, the outcome is the same
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=patience(60))
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Stopped before the end" in output
    report = json.loads(Path("out/bench.json").read_text())
    assert [case["threads"] for case in report["cases"]] == [1]
