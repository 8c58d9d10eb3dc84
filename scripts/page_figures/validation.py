"""Figures of examples/validation, beside references."""

from __future__ import annotations

import json
from typing import Any

from page_figures.common import MINUS, ROOT, Record, paragraph, signed, table

VALIDATION = ROOT / "examples" / "validation"


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


#: Those that pages have.
FIGURES = (validation_sources, validation_molecules, validation_liquid, validation_peptide, validation_crystals)
