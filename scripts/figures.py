"""Write the figures of benchmarks into the pages, from the committed results.

    python scripts/figures.py            # write the pages anew
    python scripts/figures.py --check    # only say which page has figures of other results; exit code 1 if there is one

A figure stands between the lines `<!-- figures: NAME -->` and `<!-- figures: end -->`; NAME is a function of this file,
which makes the text from benchmarks/results/*.json. Figures outside such lines belong to an experiment that is told,
not to a benchmark that is repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).parents[1]
_DOCS = (
    "performance",
    "electrostatics",
    "so3lr2",
    "trust",
    "user_guide",
    "multiple_time_steps",
    "validation",
    "recipes/conformers",
)
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in _DOCS))
RESULTS = ROOT / "benchmarks" / "results"
MODELS = ROOT / "python" / "so3md" / "models"
VALIDATION = ROOT / "examples" / "validation"

_BLOCK = re.compile(r"(<!-- figures: (?P<name>[a-z0-9_]+) -->\n)(?P<text>.*?)(<!-- figures: end -->)", re.DOTALL)

#: The processor's name in results -> what it can do, as text.
_SETS = {"avx2": "AVX2", "avx512f": "AVX-512"}

MINUS = "\N{MINUS SIGN}"
PAGE_WIDTH = 140

Record = dict[str, Any]


def read(name: str) -> Record:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


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


def sizes_of(cases: list[Record]) -> list[Record]:
    return [case for case in cases if case["atoms"] >= 1536]


def span(values: list[float], digits: int = 0) -> str:
    """Smallest to largest, or one number if they are the same."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def share_of_limit(case: Record) -> float:
    return 100 * case["share_of_limit"]


# --- the comparison with so3krates-torch ------------------------------------------------------------------------------


TORCH32, COMPILED, TORCH64 = (f"so3krates-torch{name}" for name in (" float32", "-compiled float32", " float64"))


def _compared(report: Record, own: str, *peers: str) -> list[list[str]]:
    """For each size and number of threads, our time, and of each peer its time and how much longer it is."""
    times = {(row["atoms"], row["threads"], row["side"]): row["median_us_per_atom"] for row in report["timings"]}
    ratios = {(row["atoms"], row["threads"], row["side"], row["peer"]): row["times_faster"] for row in report["ratios"]}
    rows = []
    for case in sorted({key[:2] for key in times}, key=lambda key: (key[0], -key[1])):
        row = [*map(str, case), f"{times[(*case, own)]:.0f}"]
        for peer in peers:
            row += [f"{times[(*case, peer)]:.0f}", f"**{ratios[(*case, own, peer)]:.1f}**"]
        rows.append(row)
    return rows


def comparison_in_short() -> str:
    """README: the table of `mixed`, and what it was measured on."""
    report = read("compare_so3krates_torch")
    text = (
        f"Liquid water with all physics terms, through ASE, on {hardware(report['machine'])}, beside so3krates-torch "
        f"{report['versions']['so3krates-torch']} in float32. Medians of one interleaved run, in µs per atom and step:"
    )
    header = ["atoms", "threads", "so3md", "so3krates-torch", "faster by", "with `torch.compile`", "faster by"]
    memory = (
        "From 1536 atoms on, time and memory per atom hardly depend on the size. Peak memory is "
        f"{_memory()} kB per atom (the peer: {_memory_of_peer():.0f} kB)."
    )
    times = table(header, _compared(report, "so3md mixed", TORCH32, COMPILED))
    return f"{paragraph(text)}\n\n{times}\n\n{paragraph(memory)}"


def comparison() -> str:
    """docs/performance.md: the tables of both precisions."""
    report = read("compare_so3krates_torch")
    worst = max(row["max_force_difference_eV_per_A"] for row in report["agreement"] if row["side"] == "so3md mixed")
    peer = f"so3krates-torch {report['versions']['so3krates-torch']}"
    text = (
        f"On {hardware(report['machine'])}, with {peer}; medians in µs per atom and step. "
        f"Forces of `mixed` differ from the peer's in float64 by at most {short(worst)} eV/Å."
    )
    header = ["atoms", "threads", "so3md `mixed`", "torch float32", "faster by", "with `torch.compile`", "faster by"]
    mixed = table(header, _compared(report, "so3md mixed", TORCH32, COMPILED))
    header = ["atoms", "threads", "so3md `double`", "torch float64", "faster by"]
    double = table(header, _compared(report, "so3md double", TORCH64))
    return f"{paragraph(text)}\n\n{mixed}\n\n{double}"


def _memory() -> str:
    """Peak memory in kB per atom, from 1536 atoms on."""
    return span([case["memory"]["kb_per_atom"] for case in sizes_of(read("sizes")["cases"])])


def _memory_of_peer() -> float:
    memory = read("compare_so3krates_torch")["memory"]
    return next(row["kb_per_atom"] for row in memory if row["side"] == TORCH32)


def limit() -> str:
    """docs/performance.md: shares of the limit, and memory."""
    report, compared = read("sizes"), read("compare_so3krates_torch")
    cases = report["cases"]
    time = next(
        row["median_us_per_atom"]
        for row in compared["timings"]
        if (row["atoms"], row["threads"], row["side"]) == (1536, 2, "so3md mixed")
    )
    least = next(row["us_per_atom"] for row in compared["limit"] if row["threads"] == 2)
    return paragraph(
        "The limit is the counted work of a step at the rate of a large float matrix product measured in the same "
        f"run. so3md runs at {span([share_of_limit(case) for case in cases])} % of it ({100 * least / time:.0f} % in "
        f"the run beside the peer). Peak memory is {_memory()} kB per atom from 1536 atoms on (the peer: "
        f"{_memory_of_peer():.0f} kB)."
    )


def sizes() -> str:
    """docs/performance.md: time and memory by size."""
    report = read("sizes")
    relative = report["summary"]["time_per_atom_relative_to_1536"]
    rows = [
        [
            str(case["atoms"]),
            f"{case['us_per_atom']:.1f}",
            f"{relative[str(case['atoms'])]:.3g}",
            f"{share_of_limit(case):.0f}",
            f"{case['memory']['kb_per_atom']:.1f}",
        ]
        for case in report["cases"]
    ]
    summary = report["summary"]
    text = (
        f"All sizes are within {100 * summary['largest_deviation_from_1536']:.0f} % of 1536 atoms. The slowest up to "
        f"41472 atoms takes {summary['slowest_over_fastest']:.2f} times as long per atom as the fastest."
    )
    where = f"{hardware(report['machine'])}, {report['cases'][0]['threads']} threads, {report['date']}:"
    header = ["atoms", "µs per atom and step", "relative", "of the limit, %", "kB per atom"]
    return f"{where}\n\n{table(header, rows)}\n\n{paragraph(text)}"


def work() -> str:
    """docs/performance.md: the counted work of a step."""
    from so3md import load_model
    from so3md.benchmark.work import count_work

    hyperparameters = json.loads(load_model("so3lr").metadata)["hyperparameters"]
    counted = count_work(hyperparameters, read("sizes")["cases"][1]["neighbours_per_atom"])
    rows = [
        [
            "spherical filters (17), layers 2 and 3, forward, again and backward, for each *pair*",
            f"{counted.filters:.1f}",
        ],
        ["rest on edges: attention weights, sums, spherical harmonics, tables", f"{counted.edges:.1f}"],
        ["node products: projections, MLPs, exchange, readouts, both ways", f"{counted.nodes:.1f}"],
        ["**total**", f"**{counted.total:.1f}**"],
    ]
    return table(["", "MFLOP"], rows)


# --- processes, and dynamics ------------------------------------------------------------------------------------------


def _speeds() -> dict[tuple[int, str], float]:
    comparisons = read("parallel")["comparisons"]
    return {(one["atoms"], side["side"]): side["relative_speed"] for one in comparisons for side in one["sides"]}


def processes_in_short() -> str:
    """docs/performance.md: LAMMPS, ASE and MPI."""
    speeds = _speeds()
    two_small = speeds[(1536, "LAMMPS, 2 x 1")] / speeds[(1536, "LAMMPS, 1 x 2")]
    percent = {key: f"{100 * speed:.0f} %" for key, speed in speeds.items()}
    return paragraph(
        f"LAMMPS and MPI (`python benchmarks/parallel.py`, {hardware(read('parallel')['machine'])}): molecular "
        f"dynamics in LAMMPS has {speeds[(1536, 'LAMMPS, 1 x 2')]:.3g} times the speed of that in ASE (1536 atoms, 2 "
        f"threads). Two processes of one thread reach {100 * two_small:.0f} % (1536 atoms) and "
        f"{percent[(5184, 'LAMMPS, 2 x 1')]} (5184 atoms) of the speed of one process with two threads; in ASE, "
        f"{percent[(5184, 'ASE, 2 x 1')]} at 5184 atoms."
    )


def processes() -> str:
    """docs/performance.md: the table of processes."""
    report = read("parallel")
    rows, sent = [], []
    for comparison_ in report["comparisons"]:
        for side in comparison_["sides"]:
            host, _, grid = side["side"].partition(", ")
            count, threads = grid.split(" x ")
            turns = sorted(side["ms_per_step"])
            plural = ("process" if count == "1" else "processes", "thread" if threads == "1" else "threads")
            name = f"{host}, {count} {plural[0]} of {threads} {plural[1]}"
            rows.append(
                [name, str(comparison_["atoms"]), f"{turns[len(turns) // 2]:.0f}", f"{side['relative_speed']:.3g}"]
            )
            if "bytes_per_step" in side:
                text = f"{side['bytes_per_step'] / 1e6:.2f} MB ({comparison_['atoms']} atoms)"
                sent.append((text, side["messages_per_step"]))
    sizes_text = " and ".join(text for text, _ in sent)
    return (
        table(["", "atoms", "ms per step", "speed"], rows)
        + f"\n\nLAMMPS processes send {sizes_text} each per step, in {sent[0][1]:.0f} messages."
    )


def drift() -> str:
    """docs/performance.md: the drift of the total energy."""
    return _drift(read("nve_drift"), "python benchmarks/nve_drift.py")


def drift_with_ewald() -> str:
    """docs/electrostatics.md: the drift with the full sum, beside that with a cutoff."""
    report = read("nve_drift_ewald")
    names = {"ASE": "cutoff of 12 Å", "ASE, ewald": "sum over waves", "ASE, mesh": "mesh"}
    hosts = {names[name]: host for name, host in report["hosts"].items()}
    return _drift({**report, "hosts": hosts}, "benchmarks/nve_drift.py --coulomb cutoff ewald mesh")


def _one_drift(run: Record, key: str, scale: float, digits: int) -> str:
    """A drift with its standard error."""
    error = run[key.replace("drift_", "drift_standard_error_", 1)]
    return f"{run[key] * scale:.{digits}f} ± {error * scale:.{digits}f}".replace("-", MINUS)


def _drift(report: Record, command: str) -> str:
    rows = [
        [
            name,
            _one_drift(host, "drift_eV_per_ps", 1e4, 1),
            _one_drift(host, "drift_kT_per_ns_per_degree_of_freedom", 1.0, 3),
        ]
        for name, host in report["hosts"].items()
    ]
    text = (
        f"NVE dynamics of {report['system'].partition(', ')[2]} of water at 300 K, {report['timestep_fs']} fs, "
        f"{report['length_ps']:.0f} ps, `{report['precision']}` (`{command}`): drift of the "
        "total energy"
    )
    return f"{paragraph(text)}\n\n{table(['', 'whole box, 10⁻⁴ eV/ps', 'kT per ns and degree of freedom'], rows)}"


# --- the ladder of proof ----------------------------------------------------------------------------------------------


def ladder() -> str:
    """docs/trust.md: every figure with its bound."""
    report = read("trust")
    machine = report["machine"]
    command = "python benchmarks/trust.py" + (" --quick" if report["quick"] else "")
    broken = sum(not rung["holds"] for rung in report["rungs"])
    verdict = "every figure is within its bound" if not broken else f"{broken} figures are above their bounds"
    text = (
        f"`{command}` on {hardware(machine)}, {report['date']}, commit `{machine['commit']}`: {verdict}. Deviations "
        "are in standard errors where a figure is a mean over dynamics."
    )
    if report["not_yet"]:
        text += f" The run was stopped before the parts {', '.join(report['not_yet'])}."
    rows = [
        [rung["name"], scientific(rung["value"]), scientific(rung["bound"]), rung["unit"]] for rung in report["rungs"]
    ]
    return f"{paragraph(text)}\n\n{table(['what', 'found', 'bound', 'unit'], rows)}"


def scientific(value: float) -> str:
    """Plain between a hundredth and a thousand; 0 is exact."""
    return f"{value:.2g}" if value == 0 or 0.01 <= value < 1000 else short(value)


# --- long runs, and fuzzing -------------------------------------------------------------------------------------------


def _thousands(number: float) -> str:
    return f"{number:,.0f}"


def long_runs() -> str:
    """docs/trust.md: runs that were killed beside those left alone, and what grows."""
    report = read("long_runs")
    cases = report["cases"]
    broken = [f"{case['case']}: {name}" for case in cases for name, holds in case["checks"].items() if not holds]
    kills = sum(len(case["kills"]) for case in cases)
    lost = max(kill["lost_steps"] / case["intervals"]["checkpoint"] for case in cases for kill in case["kills"])
    command = "python benchmarks/long_runs.py" + (" --quick" if report["quick"] else "")
    text = (
        f"`{command}` on {hardware(report['machine'])}, {report['date']}, commit `{report['machine']['commit']}`: "
        f"{'every check holds' if not broken else 'broken: ' + '; '.join(broken)}. After {kills} kills (SIGKILL), at "
        f"most {100 * lost:.0f} % of an interval between checkpoints was done again."
    )
    if report["quick"]:
        text += " This is the short trial of the command: what memory grows by in it is that of the beginning."
    rows = []
    for case in cases:
        memory, files = case["memory"], case["files"]
        growth = f"{memory['kb_per_1000_steps']:.2g} ± {memory['standard_error']:.1g}".replace("-", MINUS)
        rows.append(
            [
                f"{'molecule' if 'molecule' in case['case'] else 'water'}, {case['name']}",
                _thousands(case["steps"]),
                str(len(case["kills"])),
                f"{memory['mean_kb'] / 1e3:.0f}",
                growth,
                f"{files['first_frame_bytes']:.0f} to {files['last_frame_bytes']:.0f}",
                f"{files['first_row_bytes']:.0f} to {files['last_row_bytes']:.0f}",
            ]
        )
    header = ["run", "steps", "kills", "memory, MB", "growth, kB per 1000 steps", "bytes of a frame", "of a row"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def fuzzing() -> str:
    """docs/trust.md: what was put into the readers."""
    reports = [read("fuzz"), read("fuzz_converter")]
    found = [text for report in reports for one in report["campaigns"].values() for text in one["findings"]]
    text = (
        f"`scripts/fuzz`, {reports[0]['date']}, commit `{reports[0]['machine']['commit']}`, address and undefined "
        f"behaviour sanitizer; and the converter, commit `{reports[1]['machine']['commit']}`, with an audit hook: "
        f"{_thousands(sum(report['inputs'] for report in reports))} inputs, "
        f"{'no finding' if not found else 'findings: ' + '; '.join(found)}. Edges and features are libFuzzer's counts "
        "of what the inputs reached; those after half of the inputs say how much is still found."
    )
    if any(one["seconds"] is None for report in reports for one in report["campaigns"].values()):
        text += " The run had not reached its end when this was written."
    rows = []
    for report in reports:
        for name, one in report["campaigns"].items():
            half = one.get("at_half", {})
            counts = [f"{one[key]} ({half[key]} after half)" if key in one else "" for key in ("edges", "features")]
            rows.append([name, _thousands(one["inputs"]), *counts])
    return f"{paragraph(text)}\n\n{table(['campaign', 'inputs', 'edges', 'features'], rows)}"


# --- electrostatics ---------------------------------------------------------------------------------------------------


def signed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def length(cutoff: float | str | None) -> str:
    if cutoff == "ewald":
        return "full sum"
    return "none" if cutoff is None else f"{cutoff:g}"


def water_and_cutoffs() -> str:
    """docs/electrostatics.md: the molecule and the dimer of water."""
    rows = [
        [
            length(row["cutoff_A"]),
            signed(row["dimer_kcal_per_mol"]),
            f"{row['oxygen_distance_A']:.3f}",
            f"{row['bond_A']:.4f}",
            f"{row['angle_degrees']:.1f}",
            " and ".join(f"{value:.0f}" for value in row["stretches_per_cm"]),
        ]
        for row in read("electrostatics")["water"]
    ]
    return table(["cutoff, Å", "dimer, kcal/mol", "O-O, Å", "O-H, Å", "angle, °", "stretches, 1/cm"], rows)


def s22() -> str:
    """docs/electrostatics.md: interaction energies of 22 dimers."""
    report = read("electrostatics")
    cutoffs = list(report["s22_deviations"])
    rows = [
        [row["dimer"], *(signed(row["by_cutoff"][cutoff]) for cutoff in cutoffs), signed(row["ccsd_t"])]
        for row in report["s22"]
    ]
    for name, key in (("mean deviation", "mean"), ("mean absolute deviation", "mean_absolute")):
        rows.append([f"**{name}**", *(signed(report["s22_deviations"][cutoff][key]) for cutoff in cutoffs), ""])
    titles = ["no cutoff" if cutoff == "None" else f"{float(cutoff):g} Å" for cutoff in cutoffs]
    return table(["dimer", *titles, "CCSD(T)"], rows)


def liquid_water() -> str:
    """docs/electrostatics.md: 64 molecules of liquid water."""
    rows = [
        [
            length(row["cutoff_A"]),
            signed(row["energy_kJ_per_mol"], 1),
            f"{row['force_difference_rms_eV_per_A']:.3f}" if row["force_difference_rms_eV_per_A"] else "",
        ]
        for row in read("electrostatics")["liquid_water"]
    ]
    return table(["cutoff, Å", "energy, kJ/mol", "forces, rms difference from the full sum, eV/Å"], rows)


def urea() -> str:
    """docs/electrostatics.md: the crystal of urea."""
    rows = [
        [
            length(row["cutoff_A"]),
            signed(row["lattice_energy_kJ_per_mol"], 1),
            signed(row["lattice_energy_of_mixed_cutoffs_kJ_per_mol"], 1),
            f"{row['a_A']:.3f}",
            f"{row['c_A']:.3f}",
        ]
        for row in read("electrostatics")["urea"]
    ]
    return table(["cutoff, Å", "lattice energy", "molecule without cutoff", "a, Å", "c, Å"], rows)


def dispersion_and_its_cutoff() -> str:
    """docs/electrostatics.md: what a cutoff leaves of dispersion, with its tail and without it."""

    def cells(row: Record) -> list[str]:
        names = ("", "_with_tail")
        energies = [signed(row[f"energy{name}_kJ_per_mol"], 3) for name in names]
        return [*energies, *(signed(row[f"virial_pressure{name}_bar"], 0) for name in names)]

    header = ["cutoff, Å", "energy, kJ/mol", "with the tail", "pressure, bar", "with the tail"]
    texts = []
    for title, name in (("Liquid water", "liquid_water"), ("Urea, the measured structure", "urea")):
        rows = [[length(row["cutoff_A"]), *cells(row)] for row in read("electrostatics")["dispersion"][name]]
        texts.append(f"{title}:\n\n{table(header, rows)}")
    return "\n\n".join(texts)


def ewald() -> str:
    """docs/electrostatics.md: what the full periodic sum costs."""
    report = read("ewald")
    rows = [
        [
            str(row["atoms"]),
            *(f"{100 * row['share'][kind]:.1f} %" for kind in ("sum", "mesh")),
            row["chosen"],
            f"{signed(100 * row['more'][row['chosen']], 1)} %",
        ]
        for row in report["rows"]
        if row["precision"] == "mixed"
    ]
    machine = report["machine"]
    about = (
        f"Steps of water in turn, `mixed`, 1 thread, on {hardware(machine)}, with a load of "
        f"{machine['load_average_before']:.0f} from other work, which leaves per cents of noise in the last column:"
    )
    header = ["atoms", "share of a step: sum", "mesh", "chosen", "more than with 12 Å, processor's time"]
    return f"{paragraph(about)}\n\n{table(header, rows)}"


def compilers() -> str:
    """docs/performance.md: Clang's code beside that of GCC."""
    report = read("compilers")
    first, second = (re.sub(r"GCC: .*\)|.*clang version", "", build).strip() for build in report["builds"])
    ratios = {row["precision"]: row["ratio"] for row in report["rows"]}
    low, high = zip(*(row["quartiles_of_ratios"] for row in report["rows"]), strict=True)
    return paragraph(
        f"A step takes {ratios['mixed']:.2f} times as long with the code of Clang {second} as with that of GCC {first} "
        f"in `mixed` and {ratios['double']:.2f} times in `double` (`python benchmarks/builds.py`: 192 atoms, 1 thread, "
        f"{hardware(report['machine'])}). Half of the single turns have {min(low):.2f} to {max(high):.2f}."
    )


def generations() -> str:
    """docs/so3lr2.md: a step of the second generation beside one of the first."""
    report = read("generations")
    more = " and ".join(
        f"{100 * (row['ratio'] - 1):+.1f} ± {100 * row['standard_error_of_ratio']:.1f} % in `{row['precision']}`"
        for row in report["rows"]
    ).replace("-", MINUS)
    return paragraph(
        "A step of a model of the size of SO3LR, with everything in the table but repeated degrees and another cutoff, "
        f"beside a step of SO3LR: {more} (`python benchmarks/generations.py`: {report['atoms']} atoms of water, "
        f"1 thread, {report['rows'][0]['turns']} pairs of turns, {hardware(report['machine'])})."
    )


# --- heat fluxes, currents of polarization, hydrogen masses -----------------------------------------------------------


def steps_of(what: str) -> str:
    """What takes the time of how many steps, for whom."""
    report = read("heat_flux")
    sizes = report["microseconds_per_atom"]
    steps = {
        precision: " and ".join(f"{size[f'{what}_{precision}'] / size['step_mixed']:.1f}" for size in sizes)
        for precision in ("mixed", "double")
    }
    atoms = " and ".join(str(size["atoms"]) for size in sizes)
    return (
        f'takes the time of {steps["mixed"]} steps in `mixed`, and with `precision="double"` of {steps["double"]} such '
        f"steps ({atoms} atoms of water, 1 thread, {hardware(report['machine'])}; `python benchmarks/heat_flux.py`)"
    )


def time_of_a_flux() -> str:
    """docs/user_guide.md."""
    return paragraph(f"One flux {steps_of('flux')}.")


def time_of_a_current() -> str:
    """docs/electrostatics.md."""
    return paragraph(f"One current {steps_of('current')}.")


def born_charges() -> str:
    """docs/electrostatics.md: what flows in liquid water, and molecules in a box."""
    report = read("born_charges")
    water = report["liquid_water"]
    flows = ", and ".join(
        f"{signed(water[element]['born'])} e for {name}, whose charge is {signed(water[element]['charge'])} e"
        for element, name in (("O", "oxygen"), ("H", "hydrogen"))
    )
    changes = ", ".join(
        f"{100 * found['change'] / found['born']:.1g} % for {name}" for name, found in report["molecules"].items()
    )
    return paragraph(
        f"In liquid water, Born charges are on the average {flows}; the rest is charge that flows. In a periodic box "
        f"of {report['box']:.0f} Å, Born charges of a molecule change by {changes} (root mean squares; "
        "`python benchmarks/born_charges.py`)."
    )


def hydrogen_mass() -> str:
    """docs/multiple_time_steps.md: fluctuation of the energy, by molecule, mass and step."""
    runs = read("hydrogen_mass")["runs"]
    steps = sorted({run["timestep_fs"] for run in runs})
    names = {"CH3CH2OH": "ethanol", "CH3CONH2": "acetamide"}
    rows: dict[tuple[str, str], list[str]] = {}
    for run in sorted(runs, key=lambda run: run["timestep_fs"]):
        mass = run["hydrogen_mass_u"]
        key = (names[run["molecule"]], "natural" if mass is None else f"{mass:g} u")
        found = run["fluctuation_meV"]
        rows.setdefault(key, []).append("\N{EN DASH} (1)" if found is None else f"{found:.2g}")
    return table(["molecule", "hydrogens", *(f"{step:g} fs" for step in steps)], [[*k, *v] for k, v in rows.items()])


def general_student() -> str:
    """docs/multiple_time_steps.md: the errors of so3lr-fast, by kind of structure, from the report in its file."""
    with safe_open(MODELS / "so3lr-fast.safetensors", "numpy") as file:
        report = json.loads(file.metadata()["so3md"])["provenance"]["distill"]
    rows = [
        [
            kind,
            str(errors["frames"]),
            *(f"{1e3 * errors[f'{key}']:.0f}" for key in ("force_mae", "force_rms", "teacher_force_rms")),
        ]
        for kind, errors in report["kept_aside"].items()
    ]
    header = ["structures", "frames", "mean, components", "rms, atoms", "rms of SO3LR's forces"]
    costs = report["cost"]
    times = costs["teacher"] / costs["student"]
    text = f"An evaluation of {costs['atoms']} atoms by the student takes 1/{times:.0f} of the time of one by SO3LR."
    return f"{table(header, rows)}\n\n{paragraph(text)}"


def mts() -> str:
    """docs/multiple_time_steps.md: speed and drift of so3lr-fast in water, by inner and outer step."""
    return _multiple_time_steps(read("mts"), "")


def mts_hydrogen() -> str:
    """docs/multiple_time_steps.md: the same with heavier hydrogens."""
    report = read("mts_hydrogen")
    return _multiple_time_steps(report, f" --hydrogen-mass {report['hydrogen_mass_u']:g}")


def _multiple_time_steps(report: Record, options: str) -> str:
    key = "drift_kT_per_ns_per_degree_of_freedom"
    rows = [
        [
            f"{step['inner_fs']:g}",
            f"{step['outer_fs']:g}",
            f"{step['times_single']:.1f}",
            _one_drift(step, key, 1.0, 2) if key in step else "unstable",
        ]
        for step in report["steps"]
    ]
    threads = "1 thread" if report["threads"] == 1 else f"{report['threads']} threads"
    text = (
        f"{report['system']}, NVE, {threads} of {hardware(report['machine'])}; drift over "
        f"{report['length_of_drift_ps']:g} ps (`python benchmarks/mts.py --student so3lr-fast{options}`):"
    )
    header = ["inner, fs", "outer, fs", "ns/day, relative", "drift, kT per ns and degree of freedom"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


# --- energy first, and attention between all atoms --------------------------------------------------------------------


def energy_first() -> str:
    """docs/performance.md: an energy and then the forces of the same structure, beside forces at once."""
    report = read("energy_then_forces")
    rows = []
    for row in report["rows"]:
        ratios = [f"{row['ratios'][way]:.2f}" for way in ("energy_then_forces", "nothing_kept", "energy")]
        rows.append([str(row["atoms"]), str(row["threads"]), f"{row['milliseconds']['forces']:.3g}", *ratios])
    text = f"SO3LR, `mixed`, through ASE, on {hardware(report['machine'])}; medians of interleaved turns:"
    header = ["atoms", "threads", "forces, ms", "energy, then forces", "if nothing were kept", "energy alone"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def nonlocal_before() -> str:
    """docs/performance.md: attention between all atoms before and after pairs were evaluated once."""
    report = read("nonlocal_builds")
    rows = [
        [
            str(row["atoms"]),
            f"`{row['precision']}`",
            *(f"{seconds:.2f}" for seconds in row["cpu_seconds"]),
            f"**{row['times_faster_cpu']:.1f}**",
            f"{row['times_faster']:.1f}",
            short(max(row["difference_of_energies"], row["difference_of_forces"])),
        ]
        for row in report["rows"]
    ]
    threads = report["rows"][0]["threads"]
    text = (
        f"On {hardware(report['machine'])}, {threads} threads; medians of interleaved turns. CPU: seconds of both "
        "threads together. Differences are those of energies of atoms and of forces, relative to the largest."
    )
    header = ["atoms", "precision", "before, CPU s", "now, CPU s", "faster (CPU)", "faster (elapsed)", "difference"]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


# --- validation: examples/validation, beside references ---------------------------------------------------------------


def validated(name: str) -> Record:
    return json.loads((VALIDATION / "results" / f"{name}.json").read_text(encoding="utf-8"))


def references() -> Record:
    """Quantity -> value and source, by the case that it belongs to."""
    return json.loads((VALIDATION / "references.json").read_text(encoding="utf-8"))


def source(name: str) -> str:
    """The number of a source, as in the list of the page."""
    return f"[{list(references()['sources']).index(name) + 1}]"


def validation_sources() -> str:
    """docs/validation.md: the list of sources."""
    lines = (f"{number}. {text}" for number, text in enumerate(references()["sources"].values(), start=1))
    return "\n".join(lines)


def beside(names: dict[str, tuple[str, int]], found: Record, known: Record, title: str) -> list[list[str]]:
    """Rows of a table: what a quantity is called, found, and known, with its source. names: key -> text, digits."""
    rows = []
    for key, (text, digits) in names.items():
        value, where = known[key]
        rows.append([f"{title}{text}", signed(found[key], digits), signed(value, digits), source(where)])
    return rows


def validation_molecules() -> str:
    """docs/validation.md: the molecule of water, and its dimer."""
    found, known = validated("water_molecules"), references()
    molecule = {
        "bond_A": ("O-H, Å", 4),
        "angle_degrees": ("angle, °", 1),
        "dipole_D": ("dipole, D", 2),
        "bend_per_cm": ("bend, 1/cm", 0),
        "symmetric_stretch_per_cm": ("symmetric stretch, 1/cm", 0),
        "antisymmetric_stretch_per_cm": ("antisymmetric stretch, 1/cm", 0),
    }
    dimer = {
        "binding_kcal_per_mol": ("binding energy, kcal/mol", 2),
        "dissociation_kcal_per_mol": ("with zero-point energies, kcal/mol", 2),
        "oxygen_distance_A": ("O-O, Å", 3),
        "dipole_D": ("dipole, D", 2),
    }
    rows = beside(molecule, found["molecule"], known["molecule"], "molecule: ")
    rows += beside(dimer, found["dimer"], known["dimer"], "dimer: ")
    return table(["", "SO3LR", "reference", "source"], rows)


def validation_liquid() -> str:
    """docs/validation.md: liquid water."""
    found, known = validated("liquid_water"), references()["liquid"]
    npt, dynamics, radial, infrared = (found[key] for key in ("npt", "dynamics", "radial", "infrared"))

    def with_error(one: Record | None, digits: int) -> str:
        if one is None:
            return "too short a run"
        return f"{one['value']:.{digits}f}" + (f" ± {one['error']:.{digits}f}" if one["error"] else "")

    def peak(name: str) -> str:
        peaks = infrared["largest_per_cm"][name]
        return f"{peaks['all']:.0f} ({peaks['first_half']:.0f}, {peaks['second_half']:.0f})"

    features = {
        f"g(r) of {shown}: {text}": f"{radial[pair][f'{name}_A']:.2f} ({radial[pair][f'{name}_height']:.2f})"
        for pair, shown, names in (("O-O", "O-O", 3), ("H-O", "O-H, between molecules", 2))
        for name, text in list(zip(_EXTREMA, _EXTREMA_TEXT, strict=True))[:names]
    }
    rows = [["density, g/cm³", with_error(npt["density"], 3), *given(known["density"], 4)]]
    for text, value in features.items():
        measured = ["", ""]
        if text.startswith("g(r) of O-O: first max"):
            place, height = known["O-O_first_maximum_A"], known["O-O_first_maximum_height"]
            measured = [f"{place[0]:.2f} ({height[0]:.2f})", source(place[1])]
        rows.append([f"{text}, Å (height)", value, *measured])
    rows += [
        ["diffusion in the box, 10⁻⁹ m²/s", with_error(dynamics["diffusion_in_the_box"], 2), "", ""],
        ["diffusion, infinite box, 10⁻⁹ m²/s", with_error(dynamics["diffusion"], 2), *given(known["diffusion"], 2)],
        ["dipole of a molecule, D", with_error(npt["dipole"], 3), *given(known["dipole"], 1)],
        *(
            [f"infrared: {name}, 1/cm", peak(name), *given(known[name], 0)]
            for name in ("librations", "bend", "stretches")
        ),
    ]
    about = (
        f"{found['picoseconds']['npt']:.0f} ps at constant pressure, {found['picoseconds']['dynamics']:.0f} ps at "
        f"constant volume ({dynamics['density']['value']:.3f} g/cm³), {infrared['picoseconds']:.1f} ps of currents for "
        "the infrared spectrum, in brackets from both halves of these:"
    )
    return f"{paragraph(about)}\n\n{table(['', 'SO3LR', 'measured', 'source'], rows)}"


_EXTREMA = ("first_maximum", "first_minimum", "second_maximum")
_EXTREMA_TEXT = ("first maximum", "first minimum", "second maximum")


def given(value: list[Any], digits: int) -> list[str]:
    return [f"{value[0]:.{digits}f}", source(value[1])]


def validation_peptide() -> str:
    """docs/validation.md: the minima of alanine dipeptide, beside MP2 energies of the same structures."""
    greek = {"beta2": "\N{GREEK SMALL LETTER BETA}2"} | {
        f"alpha{mark}": f"\N{GREEK SMALL LETTER ALPHA}{shown}" for mark, shown in (("_L", "L"), ("'", "\N{PRIME}"))
    }
    reference = validated("peptide_reference")
    energies = reference["energies_eV"]
    minima = [one for one in validated("peptide")["minima"] if one["lowest_per_cm"] > 0]
    lowest = energies.get(minima[0]["name"], 0.0)
    rows = [
        [
            greek.get(one["name"], one["name"]),
            *(f"{one[key]:.0f}".replace("-", MINUS) for key in ("phi_degrees", "psi_degrees")),
            f"{one['energy_kcal_per_mol']:.2f}",
            signed((energies[one["name"]] - lowest) / _KCAL_IN_EV) if one["name"] in energies else "",
        ]
        for one in minima
    ]
    return table(["minimum", "φ, °", "ψ, °", "SO3LR, kcal/mol", f"{reference['method']}, kcal/mol"], rows)


#: A kilocalorie per mole in eV.
_KCAL_IN_EV = 4184 / 96485.33212


def validation_crystals() -> str:
    """docs/validation.md: lattice energies and volumes of crystals."""
    known, rows = references(), []
    for name, found in validated("crystals")["crystals"].items():
        energy, where = known["lattice_energy_kJ_per_mol"][name]
        volume, of_volume = known["volume_A3"].get(name, (found["volume_at_the_start_A3"], ""))
        edges = [after / before - 1 for after, before in zip(found["cell"], found["cell_at_the_start"], strict=True)]
        rows.append(
            [
                name,
                signed(found["lattice_energy_kJ_per_mol"], 1),
                signed(found["lattice_energy_in_the_measured_cell_kJ_per_mol"], 1),
                f"{signed(energy, 1)} {source(where)}",
                f"{found['volume_A3']:.1f}",
                f"{volume:.1f} {source(of_volume)}" if of_volume else f"{volume:.1f}",
                f"{signed(100 * max(edges[:3], key=abs), 1)} %",
            ]
        )
    header = ["", "lattice energy", "in measured cell", "reference", "volume", "measured", "change of an edge"]
    return table(header, rows)


def conformers() -> str:
    """docs/recipes/conformers.md: a thousand conformers by the command, and by a loop of ASE's LBFGS."""
    report = read("conformers")
    settings, ours, ase = report["settings"], report["so3md relax --all"], report["ase"]
    return paragraph(
        f"{settings['conformers']} conformers of ibuprofen ({settings['atoms']} atoms) take "
        f"{ours['cpu_seconds'] / 60:.1f} minutes of one core, {1e3 * ours['cpu_seconds_per_conformer']:.0f} ms and "
        f"{ours['mean_steps']:.0f} steps each; ASE's LBFGS takes {1e3 * ase['cpu_seconds_per_conformer']:.0f} ms and "
        f"{ase['mean_steps']:.0f} steps (every {settings['conformers'] // ase['conformers']}th of them), "
        f"**{report['times_faster']:.1f}** times as long. CPU seconds, until no force is above "
        f"{settings['fmax_eV_per_A']:g} eV/Å, on {hardware(report['machine'])}; `python benchmarks/conformers.py`."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        *(comparison_in_short, comparison, limit, sizes, work, processes_in_short, processes, drift),
        *(water_and_cutoffs, s22, liquid_water, urea, dispersion_and_its_cutoff, ewald, drift_with_ewald, compilers),
        *(energy_first, nonlocal_before, ladder, long_runs, fuzzing, generations),
        *(time_of_a_flux, time_of_a_current, born_charges, hydrogen_mass, general_student, mts, mts_hydrogen),
        *(validation_molecules, validation_liquid, validation_peptide, validation_crystals, validation_sources),
        conformers,
    )
}


def with_figures(page: str) -> str:
    """The page with the text of every block made anew; raises SystemExit for a block that nobody knows."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise SystemExit(f"there are no figures named {name!r}; known are {', '.join(BLOCKS)}")
        return f"{match[1]}\n{BLOCKS[name]()}\n\n{match[4]}"

    return _BLOCK.sub(block, page)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    old = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = with_figures(text)
        if new == text:
            continue
        old.append(page.relative_to(ROOT))
        if not options.check:
            page.write_text(new, encoding="utf-8")
    if options.check and old:
        print(f"figures of other results in {', '.join(map(str, old))}: run python scripts/figures.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
