"""The ladder of proof: what so3md promises, each with a figure and the bound that it must keep.

    python benchmarks/trust.py                    # some hours
    python benchmarks/trust.py --quick            # some minutes: fewer systems, shorter dynamics
    python benchmarks/trust.py --only pressure    # one part anew, or what an earlier call had not yet

Parity with the original definitions; derivatives; symmetries; precision; threads and processes; conservation of the
energy; equipartition; the canonical distribution with every thermostat; pressure and volume beside a known free
energy. Written to results/trust.json after each part, with the commit and the machine that it ran on; docs/trust.md
shows it. The exit status is 1 if a figure is above its bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tests_folder  # noqa: F401
from machine import describe_machine
from trust_dynamics import canonical, conservation, equipartition
from trust_pressure import pressure
from trust_rungs import Rung
from trust_static import derivatives, division, reference, symmetries

RESULT = Path(__file__).parent / "results" / "trust.json"
LADDER = (reference, derivatives, symmetries, division, canonical, pressure, conservation, equipartition)


def with_parts(before: list[dict[str, Any]], part: dict[str, Any]) -> list[dict[str, Any]]:
    """All parts in the order of the ladder, one of them new."""
    parts = {one["part"]: one for one in before} | {part["part"]: part}
    return [parts[function.__name__] for function in LADDER if function.__name__ in parts]


def climb(part: Callable[[bool], Iterator[Rung]], quick: bool) -> dict[str, Any]:
    """The figures of a part, with what they were measured on."""
    machine, started = describe_machine(), time.monotonic()
    rungs = []
    for rung in part(quick):
        verdict = "holds" if rung.holds else "BROKEN"
        print(f"{verdict:7} {rung.value:9.2e} of {rung.bound:9.2e} {rung.unit}: {rung.name}", flush=True)
        rungs.append(asdict(rung) | {"holds": rung.holds})
    return {
        "part": part.__name__,
        "quick": quick,
        "so3md": version("so3md"),
        "date": time.strftime("%Y-%m-%d"),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "machine": machine,
        "rungs": rungs,
    }


def main() -> int:
    """Climb, report, and say whether every rung holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    names = [part.__name__ for part in LADDER]
    parser.add_argument("--only", nargs="+", metavar="PART", choices=names, help=f"{', '.join(names)}; keep the others")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    done: list[dict[str, Any]] = []
    if options.only and options.output.exists():
        done = json.loads(options.output.read_text(encoding="utf-8"))["parts"]
    holds = True
    for part in LADDER:
        if options.only and part.__name__ not in options.only:
            continue
        done = with_parts(done, climb(part, options.quick))
        holds = holds and all(rung["holds"] for one in done for rung in one["rungs"])
        # After every part, for what is there if the run is stopped.
        there = [one["part"] for one in done]
        result = {"not_yet": [name for name in names if name not in there], "parts": done}
        text = json.dumps(result, indent=2, ensure_ascii=False, default=float)
        options.output.write_text(f"{text}\n", encoding="utf-8")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
