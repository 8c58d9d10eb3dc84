"""Figures of fluxes and currents, heavier hydrogens, and multiple time steps."""

from __future__ import annotations

import json

from safetensors import safe_open

from page_figures.common import MINUS, ROOT, Record, hardware, one_drift, paragraph, read, signed, span, table

MODELS = ROOT / "python" / "so3md" / "models"


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


def mts_1536() -> str:
    """docs/multiple_time_steps.md: speed in a larger box."""
    report = read("mts_1536")
    return _speed_in_short(report, f"Of {report['system']}")


def mts_peptide() -> str:
    """docs/multiple_time_steps.md: speed of a peptide in water."""
    report = read("mts_peptide")
    return _speed_in_short(report, f"Of the peptide {report['peptide']} in water, {report['system']}")


def _speed_in_short(report: Record, beginning: str) -> str:
    single, *others = report["steps"]
    found = ", and ".join(
        f"**{step['times_single']:.2f}** ({span([step['times_single_least'], step['times_single_most']], 2)}) with "
        f"steps of {step['inner_fs']:g} and {step['outer_fs']:g} fs"
        for step in others
    )
    return paragraph(
        f"{beginning}, on {report['threads']} threads, a single step of {single['outer_fs']:g} fs does "
        f"{single['ns_per_day']:.2f} ns per day, and student and teacher together do {found} "
        f"times that: medians of {report['turns']} turns, with least and most ({hardware(report['machine'])})."
    )


#: What mts_averages.json has of a run: its key, as pages say it, and digits behind the point.
_AVERAGES = {
    "temperature_K": ("temperature, K", 1),
    "temperature_of_hydrogen_K": ("of hydrogen, K", 1),
    "temperature_of_oxygen_K": ("of oxygen, K", 1),
    "potential_eV_per_atom": ("potential energy, eV/atom", 4),
    "rdf_peak_height": ("first peak of g(r), O-O", 2),
    "diffusion_A2_per_ps": ("diffusion coefficient, Å²/ps", 3),
}


def _with_error(value: Record, digits: int) -> str:
    return f"{value['mean']:.{digits}f} ± {value['error']:.{digits}f}".replace("-", MINUS)


def mts_averages() -> str:
    """docs/multiple_time_steps.md: averages in multiple time steps beside those of single ones."""
    report = read("mts_averages")
    found = dict(sorted(report["found"].items(), key=lambda item: item[0] != "single"))
    rows = [
        [name, *(_with_error(run[key], digits) for run in found.values())] for key, (name, digits) in _AVERAGES.items()
    ]
    rows.append(["centre of the O-H stretch, 1/cm", *(f"{run['stretch_centre_per_cm']:.0f}" for run in found.values())])
    largest = max(abs(value) for run in report["difference_in_standard_errors"].values() for value in run.values())
    text = (
        f"{next(iter(found.values()))['system']} of water, {report['length_ps']:g} ps each, velocity rescaling at 300 "
        "K; means with standard errors from ten blocks (`python benchmarks/mts_averages.py`). The largest difference "
        f"is {largest:.1f} standard errors."
    )
    header = ["average", *("single step, 0.5 fs" if name == "single" else f"outer step {name}" for name in found)]
    return f"{paragraph(text)}\n\n{table(header, rows)}"


def mts_solutions() -> str:
    """docs/multiple_time_steps.md: drift over outer steps in liquids and solutions."""
    report = read("mts_solutions")
    key = "drift_kT_per_ns_per_degree_of_freedom"
    outer = [found["outer_fs"] for found in report["systems"][0]["drifts"]]
    rows = [
        [system["name"], *(one_drift(found, key, 1.0, 1) if key in found else "unstable" for found in system["drifts"])]
        for system in report["systems"]
    ]
    text = (
        f"Drift (kT per ns and degree of freedom) over {report['picoseconds']:g} ps by outer step, boxes of about 100 "
        "atoms, with the student every 0.5 to 0.55 fs (`python benchmarks/mts_solutions.py`):"
    )
    return f"{paragraph(text)}\n\n{table(['box', *(f'{step:g} fs' for step in outer)], rows)}"


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
            one_drift(step, key, 1.0, 2) if key in step else "unstable",
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


#: Those that pages have.
FIGURES = (
    time_of_a_flux,
    time_of_a_current,
    born_charges,
    hydrogen_mass,
    general_student,
    mts,
    mts_1536,
    mts_peptide,
    mts_averages,
    mts_solutions,
    mts_hydrogen,
)
