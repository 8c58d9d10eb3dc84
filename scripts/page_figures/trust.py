"""Figures of what is proved: drifts, the ladder of proof, long runs, fuzzing."""

from __future__ import annotations

from page_figures.common import MINUS, Record, hardware, one_drift, paragraph, read, scientific, table


def drift() -> str:
    """docs/performance.md: the drift of the total energy."""
    return _drift(read("nve_drift"), "python benchmarks/nve_drift.py")


def drift_with_ewald() -> str:
    """docs/electrostatics.md: the drift with the full sum, beside that with a cutoff."""
    report = read("nve_drift_ewald")
    names = {"ASE": "cutoff of 12 Å", "ASE, ewald": "sum over waves", "ASE, mesh": "mesh"}
    hosts = {names[name]: host for name, host in report["hosts"].items()}
    return _drift({**report, "hosts": hosts}, "benchmarks/nve_drift.py --coulomb cutoff ewald mesh")


def _drift(report: Record, command: str) -> str:
    rows = [
        [
            name,
            one_drift(host, "drift_eV_per_ps", 1e4, 1),
            one_drift(host, "drift_kT_per_ns_per_degree_of_freedom", 1.0, 3),
        ]
        for name, host in report["hosts"].items()
    ]
    text = (
        f"NVE dynamics of {report['system'].partition(', ')[2]} of water at 300 K, {report['timestep_fs']} fs, "
        f"{report['length_ps']:.0f} ps, `{report['precision']}` (`{command}`): drift of the "
        "total energy"
    )
    return f"{paragraph(text)}\n\n{table(['', 'whole box, 10⁻⁴ eV/ps', 'kT per ns and degree of freedom'], rows)}"


def _measured_on(records: list[Record]) -> str:
    """Machine, date and commit that records have in common; each of them where there are several."""

    def each(values: list[str]) -> str:
        return " and ".join(dict.fromkeys(values))

    machines = [record["machine"] for record in records]
    commits = each([f"`{machine['commit']}`" for machine in machines])
    return f"{each([hardware(one) for one in machines])}, {each([one['date'] for one in records])}, commit {commits}"


def ladder() -> str:
    """docs/trust.md: every figure with its bound."""
    report = read("trust")
    parts = report["parts"]
    rungs = [rung for part in parts for rung in part["rungs"]]
    broken = sum(not rung["holds"] for rung in rungs)
    verdict = "every figure is within its bound" if not broken else f"{broken} figures are above their bounds"
    text = (
        f"`python benchmarks/trust.py` on {_measured_on(parts)}: {verdict}. Deviations are in standard errors where a "
        "figure is a mean over dynamics."
    )
    if quick := [part["part"] for part in parts if part["quick"]]:
        text += f" With `--quick`, which is shorter: {', '.join(quick)}."
    if report["not_yet"]:
        text += f" Not measured yet: {', '.join(report['not_yet'])}."
    rows = [[rung["name"], scientific(rung["value"]), scientific(rung["bound"]), rung["unit"]] for rung in rungs]
    return f"{paragraph(text)}\n\n{table(['what', 'found', 'bound', 'unit'], rows)}"


def _thousands(number: float) -> str:
    return f"{number:,.0f}"


#: What benchmarks/long_runs.py runs.
_LONG_RUNS = {"molecule_ase": "molecule, ASE", "water_ase": "water, ASE", "water_lammps": "water, LAMMPS"}


def _growth(memory: dict[str, float]) -> str:
    """Of memory that stayed the same, a fit finds rounding."""
    found, error = memory["kb_per_1000_steps"], memory["standard_error"]
    return "0" if max(abs(found), error) < 1e-9 else f"{found:.2g} ± {error:.1g}".replace("-", MINUS)


def long_runs() -> str:
    """docs/trust.md: runs that were killed beside those left alone, and what grows."""
    report = read("long_runs")
    cases = report["cases"]
    broken = [f"{case['case']}: {name}" for case in cases for name, holds in case["checks"].items() if not holds]
    kills = sum(len(case["kills"]) for case in cases)
    lost = max(kill["lost_steps"] / case["intervals"]["checkpoint"] for case in cases for kill in case["kills"])
    command = "python benchmarks/long_runs.py" + (" --quick" if report["quick"] else "")
    text = (
        f"`{command}` on {_measured_on(cases)}: "
        f"{'every check holds' if not broken else 'broken: ' + '; '.join(broken)}. After {kills} kills (SIGKILL), at "
        f"most {100 * lost:.0f} % of an interval between checkpoints was done again."
    )
    if report["quick"]:
        text += " This is the short trial of the command: what memory grows by in it is that of the beginning."
    if missing := [name for case, name in _LONG_RUNS.items() if case not in {one["case"] for one in cases}]:
        text += f" Not run to the end yet: {'; '.join(missing)}."
    rows = []
    for case in cases:
        memory, files = case["memory"], case["files"]
        rows.append(
            [
                _LONG_RUNS[case["case"]],
                _thousands(case["steps"]),
                str(len(case["kills"])),
                f"{memory['mean_kb'] / 1e3:.0f}",
                _growth(memory),
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


#: Those that pages have.
FIGURES = (drift, drift_with_ewald, ladder, long_runs, fuzzing)
