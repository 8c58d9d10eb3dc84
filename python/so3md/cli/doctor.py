"""so3md doctor: what works here, and what to do where something does not.

Imports nothing at its beginning that may be what is broken: neither NumPy nor the engine.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict

import click

from so3md.doctor import Finding, examine
from so3md.doctor.finding import BROKEN, DOUBT, OFF, OK
from so3md.printable import printable

_MARKS = {OK: "ok", OFF: "--", DOUBT: "??", BROKEN: "!!"}


@click.command("doctor")
@click.option("--programs/--no-programs", default=True, help="Start LAMMPS and mpiexec to try them. Default: yes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(programs: bool, as_json: bool) -> None:
    """Say what works here: Python, packages, threads, GPU, LAMMPS, MPI, and whether the numbers are right.

    One line each: "ok"; "--" is not there, and not needed; "??" works, but hardly as it was meant; "!!" is broken.
    Exit code 1 only if something is broken without which so3md cannot work.
    """
    findings: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are only looked at
        for finding in examine(programs):
            findings.append(finding)
            if not as_json:
                click.echo(_line(finding))
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    if failed := [finding.topic for finding in findings if finding.fails]:
        click.echo(f"Error: so3md cannot work here: {', '.join(failed)}", err=True)
        sys.exit(1)


def _line(finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return printable(f"{_MARKS[finding.state]}  {finding.topic}: {finding.text}{advice}")
