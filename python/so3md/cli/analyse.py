"""so3md analyse: what a run or a trajectory shows, as a table, a page and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Column, Table

from so3md.cli.common import (
    THREADS,
    Command,
    DeviceName,
    Number,
    charge_options,
    format_option,
    make_console,
    one_model_option,
    output_path,
)
from so3md.cli.progress import ProgressBar

if TYPE_CHECKING:
    from so3md.analysis import Report

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("analyse", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=_FILE, help="The page. Default: RUN-report.html.")
@click.option("--json", "json_file", type=_FILE, help="Also a file of all numbers.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--begin", type=Number(0, 1e12, unit="ps"), default=0.0, help="Leave out what is before it, in ps.")
@click.option("--every", type=click.IntRange(1, 10**9), default=1, help="Take one frame of so many.")
@click.option(
    "--frame-interval", type=Number(1e-9, 1e12, unit="fs"), help="Time between frames of the file in fs, if unknown."
)
@click.option(
    "--log", type=_FILE, help="log.csv, or a log of LAMMPS. Default: that of the run, or log.lammps beside it."
)
@click.option("--structure", type=_FILE, help="A structure of the same atoms, for dcd, xtc and h5md.")
@click.option("--elements", metavar="H,O,...", help="Of the atom types of a LAMMPS dump, in their order.")
@click.option(
    "--rdf-range",
    type=Number(0.1, 1e3, unit="A"),
    help="How far pairs are counted. Default: 10 A, half the cell at most.",
)
@click.option(
    "--viscosity", type=Number(1e-6, 1e9, unit="mPa s"), help="For diffusion in an infinite system, in mPa s."
)
@click.option(
    "--resolution", type=Number(1e-3, 1e3, unit="1/cm"), default=10.0, show_default=True, help="Of spectra, in 1/cm."
)
@one_model_option("Evaluate charges and currents with this model, for dipoles and the infrared spectrum.", ())
@charge_options
@click.option("--threads", type=THREADS, help="Of --model. Default: OMP_NUM_THREADS, or all cores.")
@click.option("--device", type=DeviceName(), default="cpu", show_default=True, help="Of --model: cpu, cuda or cuda:N.")
@format_option
def command(run: Path, **options: Any) -> None:
    """Analyse RUN: the directory of `so3md md`, a LAMMPS dump, or a trajectory (XYZ, traj, dcd, xtc, h5md).

    Prints averages with their errors, and writes a page with plots and a view of the last structure, which needs no
    other file and no network. What cannot be had is named with the reason.
    """
    from so3md import analysis

    page = output_path(options["output"], f"{run.resolve().stem}-report.html", options["overwrite"])
    for path in (page, options["json_file"]):
        if path is not None and path.exists() and not options["overwrite"]:
            raise click.UsageError(f"{path} exists; choose another file, or --overwrite")
    wanted = analysis.Wanted(
        elements=options["elements"].replace(",", " ").split() if options["elements"] else None,
        **{key: options[key] for key in ("structure", "log", "frame_interval", "begin", "every", "format")},
    )
    console = make_console()
    with _progress(console) as progress:
        report = analysis.analyse(run, wanted, _options(analysis, options), progress)
        _write(report, page, options["json_file"])
    show(report, console)
    _say(console, f"Wrote {' and '.join(str(path) for path in (page, options['json_file']) if path)}")


def _options(analysis: Any, options: dict[str, Any]) -> Any:
    names = ("viscosity", "resolution", "model", "charge", "spin", "threads", "device")
    return analysis.Options(farthest=options["rdf_range"], **{name: options[name] for name in names})


@contextmanager
def _progress(console: Console) -> Iterator[Any]:
    bar: ProgressBar | None = None

    def show(done: int, total: int, text: str) -> None:
        nonlocal bar
        if bar is None:
            bar = ProgressBar(console, total, passing=True)
            bar.__enter__()
            bar.wait()
        if bar.due():
            bar.show(done, text, text)

    try:
        yield show
    finally:
        if bar is not None:
            bar.__exit__()


def _write(report: Report, page: Path, json_file: Path | None) -> None:
    import json

    from so3md.analysis.page import html_page
    from so3md.run_directory.files import replace_file

    replace_file(page, html_page(report).encode())
    if json_file is not None:
        replace_file(json_file, (json.dumps(report.document()) + "\n").encode())


def show(report: Report, console: Console) -> None:
    """Print the numbers, and what is missing."""
    from so3md.analysis.page import texts_of

    for line in report.about:
        _say(console, line)
    right = [Column(title, justify="right", no_wrap=True) for title in ("value", "error", "corr., ps")]
    names, unit = Column("quantity", no_wrap=True), Column("unit", no_wrap=True)
    table = Table(names, *right[:2], unit, right[2], Column("", no_wrap=True), box=None, pad_edge=False)
    for section in report.sections:
        for quantity in section.quantities:
            value, error, time = texts_of(quantity)
            table.add_row(quantity.name, value, error, quantity.unit, time, quantity.note)
    if table.row_count:
        console.print(table)
    for name, reason in report.missing.items():
        _say(console, f"Not here: {name}: {reason}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
