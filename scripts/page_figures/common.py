"""What figures have in common: reading results, and text of numbers, hardware and tables."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"

#: The processor's name in results -> what it can do, as text.
_SETS = {"avx2": "AVX2", "avx512f": "AVX-512"}

MINUS = "\N{MINUS SIGN}"
PAGE_WIDTH = 140

Record = dict[str, Any]


def read(name: str, folder: Path | None = None) -> Record:
    """A result; folder: by default that of the benchmarks."""
    return json.loads(((folder or RESULTS) / f"{name}.json").read_text(encoding="utf-8"))


def hardware(machine: Record) -> str:
    sets = " and ".join(_SETS[name] for name in machine["instruction_sets"]) or "no AVX2"
    return f"{machine['cores']} cores of an {machine['processor']} ({sets})"


def paragraph(text: str) -> str:
    return textwrap.fill(text, PAGE_WIDTH, break_long_words=False, break_on_hyphens=False)


def short(value: float) -> str:
    """One digit, as 6e-6."""
    return f"{value:.0e}".replace("e-0", "e-")


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|"
        if line[0] != "---"
        else "|" + "---|" * len(line)
        for line in lines
    )


def span(values: list[float], digits: int = 0) -> str:
    """Smallest to largest, or one number if they are the same."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def one_drift(run: Record, key: str, scale: float, digits: int) -> str:
    """A drift with its standard error."""
    error = run[key.replace("drift_", "drift_standard_error_", 1)]
    return f"{run[key] * scale:.{digits}f} ± {error * scale:.{digits}f}".replace("-", MINUS)


def scientific(value: float) -> str:
    """Plain between a hundredth and a thousand; 0 is exact."""
    return f"{value:.2g}" if value == 0 or 0.01 <= value < 1000 else short(value)


def signed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)
