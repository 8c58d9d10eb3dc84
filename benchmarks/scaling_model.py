"""Model of the time of a step on many processes, from constants that parallel.py measures.

Liquid water in cubes of n atoms per process. With the density rho, side L = (n / rho)^(1/3), short radius s = 4.5 A and
long radius l = 12 A, both with the skin:

    near atoms   rho ((L + 2 s)^3 - L^3), far ones likewise with l: corners counted, which is an upper bound
    work         w n [1 + a x + p near / n]; a: share of the attention, x: share of pairs that cross a face, which both
                 sides evaluate, x = 1 - (1 - 3 s / (8 L))^3; p: share of the projections, repeated for near atoms
    messages     26 neighbours or more: (2 ceil(s / L) + 1)^3 - 1 for near rows, with l for far ones
    time         work + sum over exchanges of (messages latency + bytes / bandwidth) + sums log2(P) latency

Nothing is taken off for the overlap of messages with the work on interior atoms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

DENSITY = 192 / 12.4**3  # atoms per A^3: the box of 64 water molecules
SKIN = 1.0  # A
SHORT, LONG = 4.5 + SKIN, 12.0 + SKIN
ATTENTION_SHARE = 0.70  # of a step on one core: what pairs across faces repeat
PROJECTION_SHARE = 0.03  # what near atoms repeat
#: Numbers of four bytes in a row of each exchange with near atoms: features and coordinates after two layers; their
#: gradients in two; products with the values of eight elements in the first.
NEAR_ROWS = (128 + 24, 128 + 24, 128 + 24, 128 + 24, 8 * 4 + 24)
FAR_ROWS = (2,)  # charge and polarisability
SUMS = 4  # global reductions of a step: check of positions, composition, charges, their gradients
PROCESSES = (64, 512, 4096)
SIZES = (500, 2000, 8000, 32000)  # atoms per process


@dataclass
class Constants:
    """Measured: work per atom and step on one core, and what messages cost (s, bytes/s)."""

    seconds_per_atom: float
    latency: float
    bandwidth: float
    seconds_per_sum_of_two: float


def step_time(n: int, processes: int, constants: Constants) -> dict[str, float]:
    """Seconds of a step with n atoms on each process, and its parts."""
    side = (n / DENSITY) ** (1 / 3)
    near = DENSITY * ((side + 2 * SHORT) ** 3 - side**3)
    far = DENSITY * ((side + 2 * LONG) ** 3 - side**3)
    crossing = 1 - max(0.0, 1 - 3 * 4.5 / (8 * side)) ** 3
    work = constants.seconds_per_atom * n * (1 + ATTENTION_SHARE * crossing + PROJECTION_SHARE * near / n)
    neighbours = (2 * math.ceil(SHORT / side) + 1) ** 3 - 1
    far_neighbours = (2 * math.ceil(LONG / side) + 1) ** 3 - 1
    messages = neighbours * len(NEAR_ROWS) + far_neighbours * len(FAR_ROWS)
    sent = 4 * (near * sum(NEAR_ROWS) + far * sum(FAR_ROWS))
    exchange = messages * constants.latency + sent / constants.bandwidth
    sums = SUMS * constants.seconds_per_sum_of_two * math.log2(processes)
    return {"work": work, "exchange": exchange, "sums": sums, "total": work + exchange + sums, "bytes": sent}


def model_table(constants: Constants, console: Console) -> list[dict[str, Any]]:
    """Prints and returns the step times for PROCESSES and SIZES."""
    table = Table("processes", "atoms per process", "atoms", "ms per step", "exchange, %", "sums, %", "efficiency, %")
    rows = []
    for processes in PROCESSES:
        for n in SIZES:
            parts = step_time(n, processes, constants)
            efficiency = constants.seconds_per_atom * n / parts["total"]
            share = {name: 100 * parts[name] / parts["total"] for name in ("exchange", "sums")}
            table.add_row(
                str(processes), str(n), f"{processes * n:.1e}", f"{parts['total'] * 1e3:.1f}",
                f"{share['exchange']:.1f}", f"{share['sums']:.2f}", f"{100 * efficiency:.0f}",
            )  # fmt: skip
            rows.append({"processes": processes, "atoms_per_process": n, "efficiency": efficiency, **parts})
    console.print(table)
    return rows
