"""What of so3md works on this machine, and what to do where something does not: `so3md doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from so3md.doctor import machine, numbers, programs, software
from so3md.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine(run_programs: bool = True) -> Iterator[Finding]:
    """The findings, one after the other as they are made.

    run_programs: also start LAMMPS and mpiexec, which takes some seconds; else only look for them.
    """
    yield from software.findings()
    yield from machine.findings()
    yield from programs.findings(run_programs)
    yield from numbers.findings()
