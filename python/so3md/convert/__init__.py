"""Conversion of models of other programs to model files.

Sources are read without executing anything of them and need neither torch nor JAX. What a source holds is used, or is
left out for a stated reason (`ConversionReport.unused`), or the source is refused: nothing is dropped silently.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from so3md.convert import free_atoms, nlh, so3lr
from so3md.convert.errors import ConversionError, TheoryLevelMissing
from so3md.convert.jax_params import is_jax_source, read_jax_params
from so3md.convert.source import ELEMENT_TABLES, SourceModel
from so3md.convert.torch_model import read_torch_model
from so3md.convert.torch_state import is_torch_weights, read_torch_weights
from so3md.model_file import ModelFile, ModelFileError

__all__ = ["ConversionError", "ConversionReport", "TheoryLevelMissing", "convert", "model_file_of"]


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did."""

    source: Path
    target: Path
    source_format: str
    name: str
    elements: tuple[int, ...]  #: atomic numbers
    num_parameters: int  #: scalars in the model file
    unused: tuple[str, ...]  #: tensors that the source's own options switch off, left out

    def __str__(self) -> str:
        symbols = " ".join(chemical_symbols[number] for number in self.elements)
        unused = f", {len(self.unused)} tensors of terms that are switched off left out" if self.unused else ""
        return (
            f"{self.source} ({self.source_format}) -> {self.target}: {self.name}, "
            f"{self.num_parameters} parameters, elements {symbols}{unused}"
        )


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    elements: Sequence[int | str] | None = None,
    name: str | None = None,
    description: str = "",
    citation: Sequence[str] = (),
    license: str = "",
    license_text: str = "",
    provenance: dict[str, Any] | None = None,
    theory_level: int | None = None,
) -> ConversionReport:
    """Convert a model to a model file.

    source: a `.model` file of so3krates-torch, or its weights `<stem>.pt` with `<stem>_settings.yaml` beside them, or a
    directory with the original params.pkl and hyperparameters.json (or
    .yaml), or that params.pkl; the original may be that of SO3LR or one of its forerunners of 2022 and 2023. elements:
    symbols or atomic numbers that the model was trained for; sources have numbers for the whole periodic table, most of
    them never trained, and do not say which, so this must be given for every model but the published SO3LR, which is
    recognised by its weights. The other options describe the model in the file; for SO3LR they are known. provenance:
    further entries of the file's "provenance". theory_level: which level of theory, from 0, where the source has
    several; there is no default, as energies and forces of the levels differ.

    Raises ConversionError, or OSError for a file that cannot be read or written.

    >>> from so3md.convert import convert
    >>> convert("so3lr.model", "so3lr.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: the source so3lr.model does not exist
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        raise FileNotFoundError(f"the source {source} does not exist")
    read = _read(source, theory_level)
    is_so3lr = so3lr.fingerprint(read.tensors) == so3lr.FINGERPRINT
    chosen = _choose_elements(elements, read, is_so3lr)
    about: dict[str, Any] = {
        "name": name or source.stem,
        "description": description,
        "citation": list(citation),
        "license": license,
        "license_text": license_text,
        "long_range_cutoff": read.long_range_cutoff,
        "long_range_damping": read.long_range_damping,
    }
    if is_so3lr:
        about |= {
            "name": name or so3lr.NAME,
            "description": description or so3lr.DESCRIPTION,
            "citation": list(citation) or list(so3lr.CITATION),
            "license": so3lr.LICENSE,
            "license_text": so3lr.LICENSE_TEXT,
            "long_range_cutoff": so3lr.LONG_RANGE_CUTOFF,
            "long_range_cutoff_molecules": so3lr.LONG_RANGE_CUTOFF_MOLECULES,
            "long_range_damping": so3lr.LONG_RANGE_DAMPING,
        }
    origin = {
        "converter": "so3md.convert",
        "source_format": read.source_format,
        "source_file": source.name,
        "source_sha256": read.sha256,
    } | read.provenance
    model = _model_file(read, chosen, provenance=origin | (provenance or {}), **about)
    try:
        model.write(target)
    except ModelFileError as error:
        raise ConversionError(f"{source} cannot be converted: {error}") from error
    return ConversionReport(
        source, target, read.source_format, model.name, tuple(chosen), model.num_parameters, tuple(read.unused)
    )


def model_file_of(source: SourceModel, elements: Sequence[int | str], **about: Any) -> ModelFile:
    """The model of a source as read, for the elements given; about: name, license and so on of `ModelFile`."""
    return _model_file(source, _choose_elements(elements, source, is_so3lr=False), **about)


def _model_file(source: SourceModel, elements: list[int], **about: Any) -> ModelFile:
    tensors = _select_elements(source, elements)
    return ModelFile(source.hyperparameters, elements, tensors, architecture=source.architecture, **about)


def _read(source: Path, theory_level: int | None = None) -> SourceModel:
    """Read a source of any kind."""
    try:
        if is_torch_weights(source):
            return read_torch_weights(source, theory_level)
        if theory_level is not None:
            raise ConversionError("only weights with settings (.pt) have levels of theory: theory_level does not apply")
        return read_jax_params(source) if is_jax_source(source) else read_torch_model(source)
    except ConversionError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # An option may be of any type in a file that was made by hand or damaged; not each one is checked for it.
        raise ConversionError(f"{source} has an option or a tensor of an unexpected kind: {error}") from error


def _choose_elements(elements: Sequence[int | str] | None, read: SourceModel, is_so3lr: bool) -> list[int]:
    """The elements of the model file, increasing; refuses what the source has no numbers for."""
    if elements is None:
        if not is_so3lr:
            raise ConversionError(
                "the source has numbers for the whole periodic table and does not say which elements it was trained "
                "for; give them, as in elements=['H', 'C', 'O'] (so3md convert --elements H,C,O)"
            )
        return list(so3lr.ELEMENTS)
    numbers = sorted({_atomic_number(element) for element in elements})
    if not numbers:
        raise ConversionError("the list of elements is empty")
    if is_so3lr and not set(numbers) <= set(so3lr.ELEMENTS):
        unknown = " ".join(chemical_symbols[number] for number in numbers if number not in so3lr.ELEMENTS)
        raise ConversionError(
            f"SO3LR was not trained for {unknown}: its tables hold arbitrary numbers for other elements"
        )
    limit = min(len(read.tensors[name]) for name in ELEMENT_TABLES & read.tensors.keys()) - 1
    if read.hyperparameters.get("dispersion") is not None:
        limit = min(limit, len(free_atoms.POLARIZABILITIES))
        if read.refitted_free_atoms and (lacking := sorted(set(numbers) - free_atoms.REFITTED.keys())):
            raise ConversionError(
                f"the refitted free-atom values are not known here for {chemical_symbols[lacking[0]]}, only for "
                + " ".join(chemical_symbols[number] for number in free_atoms.REFITTED)
            )
    if numbers[-1] > limit:
        raise ConversionError(f"the source has no numbers for {chemical_symbols[numbers[-1]]}, only up to Z = {limit}")
    return numbers


def _atomic_number(element: int | str) -> int:
    if isinstance(element, str) and not element.isdigit():
        if element not in atomic_numbers or element == "X":
            raise ConversionError(f"{element!r} is not a chemical symbol")
        return atomic_numbers[element]
    number = int(element)
    if not 0 < number < len(chemical_symbols):
        raise ConversionError(f"{number} is not an atomic number")
    return number


def _select_elements(read: SourceModel, elements: list[int]) -> dict[str, np.ndarray]:
    """The tensors of the model file: only the rows of the chosen elements, and constants of elements."""
    tensors = {name: values[elements] if name in ELEMENT_TABLES else values for name, values in read.tensors.items()}
    if read.hyperparameters.get("dispersion") is not None:
        published = list(zip(free_atoms.POLARIZABILITIES, free_atoms.C6_COEFFICIENTS, strict=True))
        values = [free_atoms.REFITTED[z] if read.refitted_free_atoms else published[z - 1] for z in elements]
        tensors["dispersion.alpha"], tensors["dispersion.c6"] = np.array(values).T.copy()
    if read.hyperparameters.get("repulsion") is not None:
        tensors["nlh.coefficients"] = nlh.coefficients(elements)
    return tensors
