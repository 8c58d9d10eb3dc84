"""The ladder of proof: what so3md promises, each with a figure and the bound that it must keep.

    python benchmarks/trust.py            # some hours
    python benchmarks/trust.py --quick    # some minutes: fewer systems, shorter dynamics

Parity with the original definitions; derivatives; symmetries; precision; threads and processes; conservation of the
energy; equipartition; the canonical distribution with every thermostat; pressure and volume beside a known free
energy. Written to results/trust.json with the commit and the machine; docs/trust.md shows it. The exit status is 1 if
a figure is above its bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import tests_folder  # noqa: F401
from machine import describe_machine
from trust_dynamics import canonical, conservation, equipartition
from trust_pressure import pressure
from trust_rungs import Rung
from trust_static import derivatives, division, reference, symmetries

RESULT = Path(__file__).parent / "results" / "trust.json"
LADDER = (reference, derivatives, symmetries, division, canonical, pressure, conservation, equipartition)


def main() -> int:
    """Climb, report, and say whether every rung holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    machine, started = describe_machine(), time.monotonic()
    rungs: list[Rung] = []
    for number, part in enumerate(LADDER):
        for rung in part(options.quick):
            verdict = "holds" if rung.holds else "BROKEN"
            print(f"{verdict:7} {rung.value:9.2e} of {rung.bound:9.2e} {rung.unit}: {rung.name}", flush=True)
            rungs.append(rung)
        result = {
            "quick": options.quick,
            "so3md": version("so3md"),
            "date": time.strftime("%Y-%m-%d"),
            "minutes": round((time.monotonic() - started) / 60, 1),
            "machine": machine,
            "not_yet": [later.__name__ for later in LADDER[number + 1 :]],
            "rungs": [asdict(rung) | {"holds": rung.holds} for rung in rungs],
        }
        # After every part, for what is there if the run is stopped.
        text = json.dumps(result, indent=2, ensure_ascii=False, default=float)
        options.output.write_text(f"{text}\n", encoding="utf-8")
    return 0 if all(rung.holds for rung in rungs) else 1


if __name__ == "__main__":
    sys.exit(main())
