"""The report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors

import so3md
from so3md.analysis.figures import svg
from so3md.analysis.molecules import bonds_of
from so3md.analysis.results import Quantity, Section
from so3md.analysis.trajectory import Trajectory

if TYPE_CHECKING:
    from so3md.analysis.report import Report

#: More atoms than this turn slowly.
_MOST_ATOMS = 20_000

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:1120px;margin:2em auto;padding:0 1em}
h1{font-size:1.6em}h2{font-size:1.25em;border-bottom:1px solid #ccc;margin-top:2em}
table{border-collapse:collapse;margin:1em 0}th,td{text-align:left;padding:.15em 1em .15em 0;vertical-align:top}
th{border-bottom:1px solid #999}td.n{text-align:right;font-variant-numeric:tabular-nums}
.plots{display:flex;flex-wrap:wrap;gap:1em}.plots figure{margin:0;flex:1 1 470px;max-width:540px}
.plots svg{width:100%;height:auto}
figcaption{font-weight:600}
canvas{border:1px solid #ccc;max-width:100%;touch-action:none;cursor:grab}.small{color:#555;font-size:.9em}
"""


def html_page(report: Report) -> str:
    """The page."""
    title = escape(f"Analysis of {report.trajectory.source}")
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>',
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>',
        f"<body>\n<h1>{title}</h1>",
        _list(report.about),
        *[_section(section) for section in report.sections],
        _missing(report.missing),
        _structure(report.trajectory),
        f'<p class="small">Written by so3md {escape(so3md.__version__)}. Errors are standard errors of the mean.</p>',
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _list(lines: Sequence[str]) -> str:
    return "<p>" + "<br>\n".join(escape(line) for line in lines) + "</p>"


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.quantities:
        rows = "\n".join(_row(quantity) for quantity in section.quantities)
        heads = "".join(f"<th>{head}</th>" for head in ("", "value", "error", "unit", "correlation time (ps)", ""))
        parts.append(f"<table>\n<tr>{heads}</tr>\n{rows}\n</table>")
    if section.plots:
        figures = [
            f"<figure><figcaption>{escape(plot.title)}</figcaption>{svg(plot)}</figure>" for plot in section.plots
        ]
        parts.append('<div class="plots">' + "\n".join(figures) + "</div>")
    parts += [f'<p class="small">{escape(note)}</p>' for note in section.notes]
    return "\n".join(parts)


def _row(quantity: Quantity) -> str:
    value, error, time = texts_of(quantity)
    return (
        f'<tr><td>{escape(quantity.name)}</td><td class="n">{value}</td><td class="n">{error}</td>'
        f'<td>{escape(quantity.unit)}</td><td class="n">{time}</td><td class="small">{escape(quantity.note)}</td></tr>'
    )


def texts_of(quantity: Quantity) -> tuple[str, str, str]:
    """Value, error and correlation time as people read them; the value to two digits of its error."""
    error, time = quantity.error, quantity.correlation_time
    if not error:
        value = f"{quantity.value:.6g}"
    else:
        decimals = max(0, 1 - int(np.floor(np.log10(error))))
        value = f"{quantity.value:.{decimals}f}" if decimals < 8 else f"{quantity.value:.6g}"
    return value, "" if error is None else f"{error:.2g}", "" if time is None else f"{time:.2g}"


def _missing(missing: dict[str, str]) -> str:
    if not missing:
        return ""
    rows = "\n".join(f"<tr><td>{escape(name)}</td><td>{escape(reason)}</td></tr>" for name, reason in missing.items())
    return f"<h2>What is not here, and why</h2>\n<table>\n{rows}\n</table>"


def _structure(trajectory: Trajectory) -> str:
    heading = "<h2>The last structure</h2>"
    if len(trajectory.numbers) > _MOST_ATOMS:
        return f"{heading}<p>It has more than {_MOST_ATOMS} atoms, too many for the view in a page.</p>"
    # Within a script, "</" would end it.
    text = json.dumps(structure_data(trajectory)).replace("</", "<\\/")
    script = files("so3md.analysis").joinpath("viewer.js").read_text(encoding="utf-8")
    return (
        f'{heading}\n<p class="small">Drag to turn, wheel or two fingers to zoom, double click to go back.</p>\n'
        f'<canvas id="viewer" width="900" height="620"></canvas>\n'
        f'<script type="application/json" id="structure">{text}</script>\n<script>\n{script}</script>'
    )


def structure_data(trajectory: Trajectory) -> dict[str, Any]:
    """What the view of the last structure is drawn from: atoms within the cell, and bonds that do not cross it."""
    atoms = trajectory.atoms()
    if atoms.pbc.any():
        atoms.wrap()
    first, second, shifts = bonds_of(atoms)
    inside = ~shifts.any(axis=1) & (first < second)
    symbols = trajectory.symbols.tolist()
    kinds = sorted(set(symbols))
    return {
        "elements": symbols,
        "positions": np.round(atoms.positions, 3).tolist(),
        "bonds": np.stack([first[inside], second[inside]], axis=1).tolist(),
        "cell": np.round(atoms.cell.array, 4).tolist() if atoms.pbc.any() and atoms.cell.rank == 3 else None,
        "origin": [0, 0, 0],
        "radii": {symbol: round(0.3 + 0.25 * float(covalent_radii[atomic_numbers[symbol]]), 3) for symbol in kinds},
        "colours": {symbol: _colour(symbol) for symbol in kinds},
    }


def _colour(symbol: str) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in jmol_colors[atomic_numbers[symbol]])
