"""so3md bench: how fast a model runs on this machine, beside what the machine could do."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import click
from ase import Atoms
from ase.data import chemical_symbols
from rich.console import Console
from rich.table import Column, Table

import so3md
from so3md.benchmark.cases import (
    PRODUCT_TYPES,
    Case,
    Record,
    System,
    add_limits,
    add_ratios,
    describe_model,
    figures,
    measure_product,
    threads_text,
)
from so3md.benchmark.machine import describe_machine
from so3md.benchmark.systems import TIMESTEP_FS, example_system
from so3md.cli.common import (
    THREADS,
    Command,
    LengthOrNone,
    Number,
    charge_options,
    length_parameter,
    make_console,
    one_model_option,
    output_path,
    plots,
    read_input,
    structure_options,
    warn_of_many_threads,
)
from so3md.cli.completed_names import structure_names
from so3md.cli.progress import ProgressBar
from so3md.cli.signals import GracefulStop
from so3md.loading import load_model
from so3md.long_range import COULOMB
from so3md.run_directory import naming, remove, replace_file

_DEFAULT_ATOMS = (9, 192, 1536, 5184)
_RESULTS = "bench.json"
_PLOTS = ("time_per_atom.png", "memory_per_atom.png", "stages.png")


@click.command("bench", cls=Command)
@click.argument("structure", required=False, shell_complete=structure_names)
@structure_options
@one_model_option("Name of a shipped model, or a model file.")
@charge_options
@click.option("--lr-cutoff", type=LengthOrNone(), help="Cutoff of electrostatics and dispersion. Default: the model's.")
@click.option(
    "--coulomb",
    type=click.Choice(COULOMB),
    default="cutoff",
    show_default=True,
    help="Electrostatics: up to --lr-cutoff, or of all periodic images; the latter for boxes only.",
)
@click.option(
    "--atoms",
    type=click.IntRange(1, 10**9),
    multiple=True,
    help="9: ethanol; multiples of 192: water. May be given several times. "
    "Default without STRUCTURE: 9 (without --coulomb ewald), 192, 1536 and 5184.",
)
@click.option("--threads", type=THREADS, multiple=True, help="May be given several times. Default: 1 and all cores.")
@click.option("--precision", type=click.Choice([*PRODUCT_TYPES, "both"]), default="mixed", show_default=True)
@click.option("--instruction-sets", is_flag=True, help="Time every instruction set that this processor has.")
@click.option(
    "--seconds",
    type=Number(1e-6, 86400, unit="s"),
    default=5.0,
    show_default=True,
    help="Least time for each case; at least the lifetime of one neighbour list is measured.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Directory. Default: so3md-bench.")
@click.option("--overwrite", is_flag=True, help="Replace the results that the directory holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; files are written only with --output.")
@click.pass_context
def command(
    ctx: click.Context, /, structure: str | None, output: Path | None, as_json: bool, seconds: float, **options: Any
) -> None:
    """Measure time, memory and start-up of a model on this machine, for STRUCTURE, or for ethanol and boxes of water.

    Energy, forces and virial with all terms, while atoms move as at 300 K. Beside the time stands the limit: the
    counted operations at the rate of a large matrix product on the same threads. Ctrl-C shows what is there so far.
    """
    model = load_model(options["model"])
    structures = _structures(structure, model.elements, options)
    directory = None if as_json and output is None else output_path(output, "so3md-bench", options["overwrite"])
    if directory is not None:
        _prepare_directory(directory, options["overwrite"])
    report = _header(model, options, seconds)
    failure: RuntimeError | None = None
    with tempfile.TemporaryDirectory() as scratch, GracefulStop() as stop:
        systems = [System.prepare(name, atoms, model, Path(scratch)) for name, atoms in structures]
        cases = list(_cases(systems, options))
        try:
            _measure(cases, report, seconds, stop)
        except RuntimeError as error:  # the cases before it shall not be lost
            failure = error
    add_limits(report["cases"], report["matrix_products"])
    add_ratios(report["cases"])
    report["complete"] = len(report["cases"]) == len(cases)
    _publish(report, directory, as_json)
    if failure:
        raise failure
    ctx.exit(stop.exit_code)


def _structures(structure: str | None, elements: list[int], options: dict[str, Any]) -> list[tuple[str, Atoms]]:
    """Names and structures to measure; those that the model cannot evaluate are refused at once."""
    found = []
    if structure is not None:
        atoms = read_input(structure, options)
        found.append((Path(structure).stem, atoms))
    boxes = _DEFAULT_ATOMS[options["coulomb"] == "ewald" :]  # the first is a molecule
    wanted = options["atoms"] or (boxes if structure is None else ())
    found += [example_system(number) for number in wanted]
    for name, atoms in found:
        if unknown := sorted(set(atoms.numbers.tolist()) - set(elements)):
            raise ValueError(
                f"{name} has {_symbols(unknown)}, but the model was trained for {_symbols(elements)}; "
                "give a STRUCTURE of these elements"
            )
    return found


def _symbols(numbers: Iterable[int]) -> str:
    return " ".join(chemical_symbols[number] for number in numbers)


def _prepare_directory(path: Path, overwrite: bool) -> None:
    """Make the directory, and check that results can be written there, before anything is measured."""
    path.mkdir(parents=True, exist_ok=True)
    found = [path / name for name in (_RESULTS, *_PLOTS) if (path / name).exists()]
    if found and not overwrite:
        raise FileExistsError(f"{found[0]} exists; choose another --output, or --overwrite")
    with naming(path), tempfile.TemporaryFile(dir=path):
        pass


def _cases(systems: list[System], options: dict[str, Any]) -> Iterator[Case]:
    """All combinations, those that are compared with each other one after the other."""
    from so3md import _engine

    precisions = PRODUCT_TYPES if options["precision"] == "both" else (options["precision"],)
    threads = sorted(set(options["threads"] or (1, _engine.default_threads())))
    warn_of_many_threads(threads[-1])
    instruction_sets = _engine.instruction_sets() if options["instruction_sets"] else [None]
    for system in systems:
        for precision in precisions:
            for count in threads:
                for instruction_set in instruction_sets:
                    yield Case(system, precision, count, instruction_set)


def _header(model: Any, options: dict[str, Any], seconds: float) -> Record:
    return {
        "benchmark": "energy, forces and virial, all terms, while atoms move as in MD",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {"so3md": so3md.__version__, "numpy": version("numpy")},
        "model": describe_model(model),
        "lr_cutoff": length_parameter(options["lr_cutoff"]),
        "coulomb": options["coulomb"],
        "seconds": seconds,
        "timestep_fs": TIMESTEP_FS,
        "matrix_products": [],
        "cases": [],
    }


def _measure(cases: list[Case], report: Record, seconds: float, stop: GracefulStop) -> None:
    """Run the cases and append their records to the report, until all are done or the user stops them."""
    with _progress(len(cases)) as show:
        for case in cases:
            show(case.describe(), None)
            try:
                # Beside each case, because other work on the machine slows down both.
                report["matrix_products"].append(measure_product(case, min(seconds, 1.0)))
                answer = case.run(report["model"]["path"], report["lr_cutoff"], seconds, report["coulomb"])
            except RuntimeError:
                if stop.requested:  # Ctrl-C has ended the process that measured, too
                    return
                raise
            record = figures(case, answer, report["model"])
            report["cases"].append(record)
            show(case.describe(), record)
            if stop.requested:
                return


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A function that shows the case which begins, or with its record, the one which is done; on standard error."""
    count = 0
    with ProgressBar(make_console(stderr=True), total, passing=True) as bar:

        def show(description: str, record: Record | None) -> None:
            nonlocal count
            line = ""
            if record is not None:
                count += 1
                line = f"{count} of {total}: {description}: {record['us_per_atom']:.1f} µs/atom"
            bar.show(count, description, line)

        yield show


# --- what the user gets -----------------------------------------------------------------------------------------------


def _publish(report: Record, directory: Path | None, as_json: bool) -> None:
    """Print tables or JSON, and write files."""
    console = make_console()
    text = json.dumps(report, indent=1)
    if as_json:
        click.echo(text)
    else:
        _show(report, console)
    if directory is None:
        return
    replace_file(directory / _RESULTS, f"{text}\n".encode())
    remove([directory / name for name in _PLOTS])  # of earlier results
    if report["cases"] and (drawing := plots()):
        drawing.plot_benchmark(report["cases"], directory)
    if not as_json:
        written = ", ".join(sorted(path.name for path in directory.iterdir()))
        console.print(f"In {directory}: {written}", highlight=False, soft_wrap=True)


def _show(report: Record, console: Console) -> None:
    machine, cases = report["machine"], report["cases"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB; load before: "
        f"{machine['load_average_before']:g}",
        f"{report['model']['name']}, so3md {report['versions']['so3md']}: {report['benchmark']}",
    ]
    if not report["complete"]:
        lines.append("Stopped before the end; this is what was measured.")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if not cases:
        return
    for (precision, instruction_set), members in _groups(cases).items():
        settings = f"{precision}, {instruction_set}"
        console.print(_speed_table(members, settings), _systems_table(members, settings))
    if len({case["instruction_set"] for case in cases}) > 1:
        console.print(_instruction_sets_table(cases))
    startup = {step: median(case["startup_seconds"][step] for case in cases) for step in cases[0]["startup_seconds"]}
    text = "Start-up: import {import:.2f} s, reading the model {model:.2f} s, tables and threads {tables:.2f} s"
    console.print(text.format(**startup), highlight=False, soft_wrap=True)


def _groups(cases: list[Record]) -> dict[tuple[str, str], list[Record]]:
    """The cases by precision and instruction set."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for case in cases:
        groups.setdefault((case["precision"], case["instruction_set"]), []).append(case)
    return groups


def _name(case: Record) -> str:
    return f"{case['system']} {case['atoms']}"


def _table(title: str, first: str, *others: str) -> Table:
    columns = (Column(heading, justify="right") for heading in others)
    return Table(first, *columns, title=title, title_justify="left", caption_justify="left")


def _speed_table(cases: list[Record], settings: str) -> Table:
    headings = ("threads", "µs/atom", "ns/day", "speed-up", "limit", "of limit")
    table = _table(f"Time of a step ({settings})", "system", *headings)
    for case in cases:
        table.add_row(
            _name(case),
            str(case["threads"]),
            f"{case['us_per_atom']:.1f}",
            f"{case['ns_per_day']:.3g}",
            f"{case['speedup_by_threads']:.2f}",
            f"{case['limit_us_per_atom']:.1f}",
            f"{100 * case['share_of_limit']:.0f} %",
        )
    rates = {case["threads"]: case["gflops_of_matrix_product"] for case in cases}
    table.caption = (
        f"ns/day with steps of {TIMESTEP_FS} fs. limit: µs/atom if the counted operations ran like a large matrix "
        f"product ({PRODUCT_TYPES[cases[0]['precision']]}), "
        + ", ".join(f"{rate:.0f} GFLOP/s on {threads_text(count)}" for count, rate in rates.items())
    )
    return table


def _systems_table(cases: list[Record], settings: str) -> Table:
    """Where the time goes, and memory: systems side by side, with the most threads."""
    most = max(case["threads"] for case in cases)
    shown = [case for case in cases if case["threads"] == most]
    table = _table(f"Per cent of a step ({settings}, {threads_text(most)})", "stage", *map(_name, shown))
    stages = {stage for case in shown for stage in case["stage_shares"]}
    for stage in sorted(stages, key=lambda stage: -shown[-1]["stage_shares"].get(stage, 0)):
        table.add_row(stage, *(f"{100 * case['stage_shares'].get(stage, 0):.1f}" for case in shown))
    rest = (100 * (1 - sum(case["stage_shares"].values())) for case in shown)
    table.add_row("rest", *(f"{value:.1f}" for value in rest), end_section=True)
    lifetimes = (case["steps_per_list"] for case in shown)
    table.add_row("steps per neighbour list", *("many" if steps is None else f"{steps:.0f}" for steps in lifetimes))
    table.add_row("neighbours per atom", *(f"{case['neighbours_per_atom']:.1f}" for case in shown))
    memory = [case["memory"] for case in shown]
    table.add_row("memory in MB", *("?" if item is None else f"{item['above_kb'] / 1024:.1f}" for item in memory))
    table.add_row("memory in kB/atom", *("?" if item is None else f"{item['kb_per_atom']:.1f}" for item in memory))
    table.caption = "memory: peak above what the process holds with the model loaded"
    return table


def _instruction_sets_table(cases: list[Record]) -> Table:
    sets = list(dict.fromkeys(case["instruction_set"] for case in cases))
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for case in cases:
        if "speedup_over_portable" in case:
            key = (_name(case), case["precision"], str(case["threads"]))
            rows.setdefault(key, {})[case["instruction_set"]] = f"{case['speedup_over_portable']:.2f}"
    table = _table("Speed over that of the portable kernels", "system", "precision", "threads", *sets)
    for key, speeds in rows.items():
        table.add_row(*key, *(speeds.get(name, "") for name in sets))
    return table
