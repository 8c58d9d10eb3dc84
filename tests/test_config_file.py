"""so3md md --config: options from a file, which the command line wins over, and runs that can be repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write
from test_cli import fail, in_an_empty_directory, run, succeed  # noqa: F401 (a fixture for all tests)

yaml = pytest.importorskip("yaml", reason="--config needs PyYAML (pip install 'pyyaml>=6.0')")

SHORT = {"steps": 4, "threads": 1, "plot": False, "log-interval": 2, "seed": 3, "structure": "ethanol.xyz"}


@pytest.fixture(autouse=True)
def ethanol(in_an_empty_directory: None) -> None:  # noqa: F811 (the fixture)
    write("ethanol.xyz", molecule("CH3CH2OH"))


def config(**options: object) -> str:
    """A file with options; keys with underscores stand for those with dashes."""
    Path("run.yaml").write_text(
        yaml.safe_dump(SHORT | {key.replace("_", "-"): value for key, value in options.items()})
    )
    return "run.yaml"


def record(directory: str) -> dict:
    return json.loads(Path(directory, "run.json").read_text())


def test_options_come_from_the_file() -> None:
    file = config(ensemble="nve", timestep="25e-2", lr_cutoff="none", precision="double", write_forces=True)
    succeed("md", "--config", file, "-o", "run")
    found = record("run")
    assert found["settings"]["ensemble"] == "nve"
    assert found["settings"]["timestep"] == 0.25  # a text in YAML, which has no point
    assert found["calculator"]["precision"] == "double"
    assert found["identity"]["lr_cutoff"] is None
    assert found["trajectory_columns"] == {"velocities": False, "forces": True}
    assert found["planned_steps"] == 4
    assert not Path("run", "log.png").exists()


def test_the_command_line_wins() -> None:
    file = config(temperature=500, output="elsewhere", write_forces=True)
    succeed("md", "--config", file, "--temperature", "350", "-o", "run", "--steps", "2")
    assert record("run")["settings"]["temperature"] == 350
    assert record("run")["planned_steps"] == 2
    assert not Path("elsewhere").exists()
    # STRUCTURE and --example exclude each other, unless one of them is of the file.
    succeed("md", "--config", file, "--example", "water", "--steps", "0", "-o", "water")
    assert record("water")["notes"]["structure"] == "water"
    assert "not both" in fail("md", "ethanol.xyz", "--example", "water", "--config", file, code=2)


def test_underscores_are_dashes_and_keys_stand_once() -> None:
    Path("run.yaml").write_text("log_interval: 2\nlog-interval: 3\n")
    assert "run.yaml: log-interval: the option stands twice" in fail("md", "--config", "run.yaml", code=2)
    Path("run.yaml").write_text("steps: 1\nsteps: 2\n")
    assert "steps: the key stands twice" in fail("md", "--config", "run.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temprature: 300", "run.yaml: temprature: no such option; did you mean 'temperature'?"),
        ("json: out.json", "run.yaml: json: no such option"),
        ("config: run.yaml", "run.yaml: config: no such option"),
        ("steps: [1, 2]", "run.yaml: steps: expected a number or a text, found [1, 2]"),
        ("steps: true", "run.yaml: steps: expected a number or a text, found True"),
        ("steps: many", "run.yaml: steps: 'many' is not a valid integer"),
        ("temperature:", "run.yaml: temperature: expected a number or a text, found null"),
        ("supercell: 2", "run.yaml: supercell: expected a list of 3, found 2"),
        ("supercell: '222'", "run.yaml: supercell: expected a list of 3, found '222'"),
        ("supercell: [2, 2]", "run.yaml: supercell: expected a list of 3, found [2, 2]"),
        ("write-forces: 1", "run.yaml: write-forces: expected true or false, found 1"),
        ("ensemble: nvx", "run.yaml: ensemble: 'nvx' is not one of"),
        ("lr-cutoff: .nan", "run.yaml: lr-cutoff: nan: expected"),
        ("output: 2020-01-01", "run.yaml: output: expected a number or a text"),
        ("? {a: 1}\n: 2", "run.yaml: "),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_key(text: str, message: str) -> None:
    Path("run.yaml").write_text(text)
    result = run("md", "--config", "run.yaml")
    assert result.exit_code in (1, 2), result.output
    assert f"Error: {message}" in result.output
    assert [path.name for path in Path().iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("text", ["", "just a text", "[1, 2]", "a: b: c", "a: &a [*a]"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    Path("run.yaml").write_text(text)
    assert "run.yaml: " in fail("md", "--config", "run.yaml")


def test_a_run_is_repeated_to_the_bit_by_the_options_that_it_records() -> None:
    options = ("--steps", "4", "--log-interval", "2", "--threads", "1", "--no-plot", "--temperature", "1e2")
    options += ("--charge", "0", "--write-velocities", "--lr-cutoff", "9")
    succeed("md", "ethanol.xyz", *options, "-o", "first")
    succeed("md", "--config", "first/config.yaml", "-o", "second")
    for name in ("log.csv", "trajectory.xyz"):
        assert Path("first", name).read_text() == Path("second", name).read_text()
    first, second = (yaml.safe_load(Path(name, "config.yaml").read_text()) for name in ("first", "second"))
    assert first == second
    assert first["seed"] == record("first")["settings"]["seed"]
    assert first["structure"] == str(Path("ethanol.xyz").resolve())
    assert not {"output", "overwrite", "resume", "config", "json"} & first.keys()


def test_every_option_of_a_run_is_recorded_or_left_out_on_purpose() -> None:
    from so3md.cli.md import command
    from so3md.cli.option_files import _OF_ONE_RUN

    succeed("md", "ethanol.xyz", "--steps", "0", "--threads", "1", "--no-plot", "-o", "run")
    recorded = yaml.safe_load(Path("run", "config.yaml").read_text())
    for item in command.params:
        name = max(item.opts, key=len).lstrip("-")
        with_default = item.default is not None and item.name not in _OF_ONE_RUN
        if with_default and not str(item.default).startswith("Sentinel"):
            assert name in recorded, name


# --- JSON -----------------------------------------------------------------------------------------------------------


def test_md_writes_its_results_for_programs() -> None:
    succeed(
        "md",
        "ethanol.xyz",
        "--steps",
        "8",
        "--log-interval",
        "2",
        "--threads",
        "1",
        "--no-plot",
        "-o",
        "run",
        "--json",
        "r.json",
    )
    found = json.loads(Path("r.json").read_text())
    assert (found["command"], found["steps"], found["planned_steps"]) == ("md", 8, 8)
    assert found["rows_averaged"] == 2  # of 0, 2, 4, 6, 8, rounded half to even
    rows = [line.split(",") for line in Path("run", "log.csv").read_text().splitlines()]
    column = rows[0].index("temperature_K")
    temperatures = [float(row[column]) for row in rows[-2:]]
    assert found["mean"]["temperature_K"] == pytest.approx(sum(temperatures) / 2)
    assert "density_g_cm3" not in found["mean"]
    assert found["session"]["to_step"] == 8
    succeed("md", "--resume", "run", "--steps", "1", "--no-plot", "--json", "r.json")
    assert json.loads(Path("r.json").read_text())["steps"] == 9  # which is no row of the log


def test_relax_and_eval_write_their_results_for_programs() -> None:
    succeed("relax", "ethanol.xyz", "--threads", "1", "--json", "relax.json")
    found = json.loads(Path("relax.json").read_text())
    assert found["converged"] is True
    assert found["largest_force_eV_per_A"] <= 0.01
    assert found["volume_A3"] is None
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = 1.0
    write("set.xyz", [atoms, atoms])
    succeed("eval", "set.xyz", "--threads", "1", "--json", "eval.json")
    found = json.loads(Path("eval.json").read_text())
    assert found["structures"] == 2
    assert found["errors"]["energy (eV)"]["count"] == 2
    assert found["failed"] == []


def test_lines_of_a_log_grow_rarer() -> None:
    from so3md.cli.progress import line_interval

    assert [line_interval(seconds) for seconds in (0, 50, 1000, 1e6)] == [10, 10, 100, 600]
    seconds, lines = 0.0, 0
    while seconds < 7 * 86400:
        seconds, lines = seconds + line_interval(seconds), lines + 1
    assert lines < 1100  # of a week
