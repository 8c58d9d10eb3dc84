"""What users type by mistake, or find in their files: absurd numbers, and names that are instructions to somebody."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import read, write
from test_cli import fail, in_an_empty_directory, run, succeed  # noqa: F401 (a fixture for all tests)
from toy_models import make_toy_model

from so3md import So3kratesCalculator, evaluate_many, run_directory
from so3md.benchmark import machine
from so3md.cli import bench, common

ABSURD = ("0", "-1", "nan", "inf", "1e-320", "-1e308", "1e308", "1" + "0" * 400, "0x10", "x", "")
QUICK = ("--threads", "1", "--steps", "0")


@pytest.fixture
def water() -> str:
    atoms = molecule("H2O")
    atoms.info["energy"] = -14.0  # for eval
    write("water.xyz", atoms)
    return "water.xyz"


# --- numbers ----------------------------------------------------------------------------------------------------------

OF_MODELS = ("index", "charge", "spin", "threads", "lr-cutoff", "lr-damping", "device", "precision", "electric-field")
OF_EWALD = ("coulomb", "ewald-accuracy", "ewald-method")
OF_DYNAMICS = (
    *("ensemble", "thermostat", "temperature", "timestep", "steps", "friction", "taut", "taup", "pressure", "seed"),
    *("velocities", "max-temperature", "log-interval", "trajectory-interval", "checkpoint-interval"),
)
OPTIONS = {
    "relax": (*OF_MODELS, *OF_EWALD, "supercell", "fmax", "steps", "pressure", "cell", "optimizer"),
    "eval": (*OF_MODELS, *OF_EWALD, "spin-convention"),
    "bench": ("index", "charge", "spin", "lr-cutoff", "atoms", "threads", "seconds", "supercell"),
    "md": (*OF_MODELS, *OF_EWALD, *OF_DYNAMICS, "supercell", "trajectory-format"),
    "lammps": (*OF_MODELS, *OF_DYNAMICS, "supercell", "fmax", *OF_EWALD, "cell", "units", "atom-style"),
}
#: Values of options that are no mistake.
FINE = {
    "index": ("0", "-1"),
    "charge": ("0", "-1"),
    "electric-field": ("0", "-1", "1e-320"),
    "spin": ("0",),
    "steps": ("0",),
    "seed": ("0",),
    "pressure": ("0", "-1"),
    "friction": ("0",),
}
#: What has to be said with an option for it to count.
WITH = {"taut": ("--ensemble", "npt"), "taup": ("--ensemble", "npt"), "pressure": ("--ensemble", "npt")}


@pytest.mark.parametrize(("command", "option"), [(key, name) for key, names in OPTIONS.items() for name in names])
def test_absurd_values_end_in_one_line(water: str, command: str, option: str):
    """Which names the option or the value, and comes before any work."""
    others = WITH.get(option, ()) if command in ("md", "lammps") else ()
    if command == "relax" and option == "pressure":
        others = ("--cell", "isotropic")
    if command == "lammps" and option == "fmax":
        others = ("--ensemble", "minimize")
    for value in ABSURD:
        if value in FINE.get(option, ()):
            continue
        values = (value, "1", "1") if option in ("supercell", "electric-field") else (value,)
        begin = time.monotonic()
        result = run(command, water, f"--{option}", *values, *others, "-o", "out.xyz")
        assert result.exit_code in (1, 2), (value, result.output)
        errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, (value, result.output)
        named = (f"--{option}", option.replace("-", "_"), value or option, f"{option} ")
        assert any(name in errors[0] for name in named), (value, errors[0])
        assert "should not have happened" not in result.output
        assert "Traceback" not in result.output
        assert "Step" not in result.output
        assert time.monotonic() - begin < 20


@pytest.mark.parametrize("value", ["0", "-1", "nan", "1e308", "100000000"])
def test_absurd_supercells_are_refused(value: str):
    fail("relax", "water", "--supercell", value, "1", "1", *QUICK, code=2)
    assert "more than the engine can count" in fail("relax", "water", "--supercell", "9999", "9999", "9999", *QUICK)


@pytest.mark.parametrize("elements", ["", ",", "H,,O", "Xx", "H O", "0", "-1", "1e308", "nan", "H,H", "119"])
def test_absurd_elements_are_refused(elements: str):
    Path("params.model").write_bytes(b"")
    assert "should not have happened" not in fail("convert", "params.model", "out.safetensors", "--elements", elements)


def test_more_threads_than_cores_are_warned_about(water: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    many = succeed("relax", water, "--threads", "2", "--fmax", "1000")
    assert "Warning: --threads 2: this process may use 1 core; more threads are slower" in many
    assert "Warning" not in succeed("relax", water, "--threads", "1", "--fmax", "1000")


def test_a_frame_beyond_the_end_is_one_line(water: str):
    assert "there is no frame 7, it has 1 (the first is 0)" in fail("relax", water, "--index", "7")


def test_a_long_range_cutoff_below_that_of_the_network_is_refused(water: str):
    """By all that take one: the network and the long-range terms share lists."""
    expected = "shorter than the cutoff of the network, 4.5 A"
    for command in ("relax", "md", "lammps", "bench"):
        assert expected in fail(command, water, "--lr-cutoff", "4.49", "--threads", "1", "-o", "out.xyz")
    atoms = molecule("H2O")
    with pytest.raises(ValueError, match=expected):
        So3kratesCalculator(lr_cutoff=4.49).get_potential_energy(atoms)
    with pytest.raises(ValueError, match=expected):
        next(evaluate_many([atoms], lr_cutoff=4.49))
    assert So3kratesCalculator(lr_cutoff=4.5).get_potential_energy(atoms) < 0


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b[31m", "\x7f", "\t", "\u2028", "\x9b"])
@pytest.mark.parametrize("command", ["relax", "eval", "bench", "md", "lammps", "info", "convert"])
def test_names_with_control_characters_are_refused(water: str, command: str, character: str):
    """Such a name would be an instruction in a generated input, a log or the terminal."""
    name = f"a{character}b.xyz"
    Path(water).rename(name)
    message = fail(command, name, *(["out"] if command == "convert" else []), code=2)
    assert character not in message
    for option in ("--output", "--model") if command in ("relax", "lammps") else ():
        fail(command, "water", option, name, code=2)


@pytest.mark.parametrize("name", ["[red]water.xyz", "[bold.xyz", ":smile:.xyz", "a b'c\"d$e$f;g&.xyz", "wässer.xyz"])
def test_other_names_are_taken_and_printed_as_they_are(water: str, name: str):
    Path(water).rename(name)
    stem = name.removesuffix(".xyz")
    assert f"In {stem}-relaxed.xyz" in succeed("relax", name, "--threads", "1", "--fmax", "1000")
    assert len(read(f"{stem}-relaxed.xyz")) == 3
    assert f"into {stem}-nvt-langevin;" in succeed("md", name, *QUICK, "--no-plot")
    assert "energy" in (text := succeed("eval", f"{stem}-relaxed.xyz", "--threads", "1"))
    assert f"In {stem}-relaxed-eval: " in text
    text = succeed("bench", name, "--threads", "1", "--seconds", "1e-3", "-o", "[bold]results")
    assert f"{stem} 3" in text
    assert "In [bold]results: bench.json" in text


def test_texts_of_a_model_are_no_instructions(tmp_path: Path):
    model = make_toy_model()
    model.name, model.description = "[red]toy[/]", "[/] :smile: \x1b[2J line 1\nline 2"
    model.license, model.license_text = "[bold]MIT", "free\x1b]0;title\x07\nfor all"
    model.write("toy.safetensors")
    text = succeed("info", "toy.safetensors")
    for part in ("[red]toy[/]", "[/] :smile: \\x1b[2J line 1", "[bold]MIT"):
        assert part in text
    assert succeed("info", "toy.safetensors", "--license") == "free\\x1b]0;title\\x07\nfor all\n"
    assert json.loads(succeed("info", "toy.safetensors", "--json"))["description"] == model.description


def test_messages_hold_no_control_characters(water: str):
    Path(water).write_text("2\n\nO 0 0 0\nH\x1b[31m 0 0 1\n", encoding="utf-8")
    assert "\x1b" not in fail("relax", water)
    assert common.printable("a\x1bb\udc80 ä") == "a\\x1bb\\udc80 ä"


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_with_the_name_of_the_file(monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, content: bytes) -> None:
        with run_directory.naming(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    options = ("--atoms", "9", "--threads", "1", "--seconds", "1e-3", "-o", "results")
    succeed("bench", *options)
    before = {path.name: path.read_bytes() for path in Path("results").iterdir()}
    monkeypatch.setattr(bench, "replace_file", full)
    assert "results/bench.json: No space left on device" in fail("bench", *options, "--overwrite")
    assert {path.name: path.read_bytes() for path in Path("results").iterdir()} == before


def test_bench_replaces_what_it_has_written_by_default():
    options = ("bench", "--atoms", "9", "--threads", "1", "--seconds", "1e-3")
    for options_more, expected in (((), 1), ((), 2), (("--overwrite",), 2)):
        succeed(*options, *options_more)
        assert len(list(Path().iterdir())) == expected
