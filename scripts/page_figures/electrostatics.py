"""Figures of cutoffs and full sums."""

from __future__ import annotations

from page_figures.common import Record, hardware, paragraph, read, signed, table


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


#: Those that pages have.
FIGURES = (water_and_cutoffs, s22, liquid_water, urea, dispersion_and_its_cutoff, ewald)
