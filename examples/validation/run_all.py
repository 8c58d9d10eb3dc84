"""All cases of the validation, one after the other, and the plots.

python run_all.py --student FILE [--folder liquid_water]

Cases that have a result are left out; remove files of results/ to have them again. Ctrl-C stops, and the same command
goes on: liquid water within its runs, crystals from crystal to crystal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from outcome import RESULTS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, required=True, help="for multiple time steps, of so3md distill water")
    parser.add_argument("--folder", type=Path, default=Path("liquid_water"), help="of the runs of liquid water")
    options = parser.parse_args()
    student, folder = options.student.resolve(), options.folder.resolve()
    # Crystals know which of them are done.
    cases = {
        "water_molecules": [],
        "crystals": [],
        "peptide": [],
        "liquid_water": ["--student", str(student), "--folder", str(folder)],
    }
    for number, (name, arguments) in enumerate(cases.items(), start=1):
        if (RESULTS / f"{name}.json").exists() and name != "crystals":
            print(f"case {number} of {len(cases)}, {name}: done before", flush=True)
            continue
        print(f"case {number} of {len(cases)}, {name}", flush=True)
        begin = time.monotonic()
        if subprocess.run([sys.executable, HERE / f"{name}.py", *arguments]).returncode:
            raise SystemExit(f"{name} did not end; the same command goes on")
        print(f"{name}: {(time.monotonic() - begin) / 60:.1f} minutes", flush=True)
    subprocess.run([sys.executable, HERE / "draw.py"], check=True)


if __name__ == "__main__":
    main()
