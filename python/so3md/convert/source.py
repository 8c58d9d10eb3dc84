"""What the readers of the source formats hand to the converter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from so3md.convert.errors import ConversionError
from so3md.model_file import LONG_RANGE_DAMPING, SO3KRATES

#: Tensors with one row per element. Sources hold them for a whole periodic table.
ELEMENT_TABLES = frozenset(
    [
        "embedding.element",
        "embedding.charge.query",
        "embedding.spin.query",
        "energy.scale",
        "energy.shift",
        "charge.element",
        "hirshfeld.query",
        "hirshfeld.shift",
        "c6.shift",
    ]
)


@dataclass
class SourceModel:
    """A model as read: tensors have the names and layouts of the model file, but element tables are indexed by Z.

    unused: tensors of the source that its own options switch off, which are left out on purpose. refitted_free_atoms:
    which free-atom values its dispersion was trained with. provenance: what else the model file should tell.
    """

    source_format: str
    hyperparameters: dict[str, Any]
    tensors: dict[str, np.ndarray]
    long_range_cutoff: float | None
    sha256: str
    unused: list[str] = field(default_factory=list)
    architecture: str = SO3KRATES
    long_range_damping: float = LONG_RANGE_DAMPING
    refitted_free_atoms: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)


def damping_of(option: Any) -> float:
    """The width (A) over which a source switches dispersion off before its cutoff; none is the default of so3md."""
    return LONG_RANGE_DAMPING if option is None else float(option)


class Place(NamedTuple):
    """Where a tensor goes, which tensor of the source it is, and in which layout the source has it."""

    target: str
    source: str
    layout: str = "same"


def dense(target: str, source: str, weight: str = "weight", layout: str = "same") -> list[Place]:
    """Weight and bias of a linear map."""
    return [Place(f"{target}.weight", f"{source}{weight}", layout), Place(f"{target}.bias", f"{source}bias")]


def _only_entry(values: np.ndarray) -> np.ndarray:
    if len(values) != 1:
        raise ConversionError(f"expected one network of its kind, found the shape {values.shape}")
    return values[0]


def _first_column(values: np.ndarray) -> np.ndarray:
    if values.shape[1] != 1:
        raise ConversionError(f"expected one number per element, found the shape {values.shape}")
    return values[:, 0]


def _from_first_element(values: np.ndarray) -> np.ndarray:
    """Rows 0, 1, ... of elements 1, 2, ... to rows that are atomic numbers."""
    return np.concatenate([np.zeros_like(values[:1]), values])


#: Layouts of sources: number of axes, and the way to (out, in), (head, in, out) and rows by atomic number.
_LAYOUTS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "in_out": (2, np.transpose),
    "one_in_out": (3, lambda values: _only_entry(values).T),
    "one_row": (2, _only_entry),
    "heads_out_in": (3, lambda values: values.transpose(0, 2, 1)),
    "column_per_element": (2, lambda values: _from_first_element(values.T)),
    "only_row_of_elements": (2, lambda values: _first_column(_from_first_element(values.T))),
    "entry_per_element": (1, _from_first_element),
    "one_number_per_row": (2, _first_column),
}


class Tensors:
    """The tensors of a source, each of which must be used exactly once or be named as not needed."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.left = dict(tensors)

    def take(self, name: str) -> np.ndarray:
        if name not in self.left:
            raise ConversionError(f"the source has no tensor {name}, which its hyperparameters ask for")
        return self.left.pop(name)

    def place(self, places: Iterable[Place]) -> dict[str, np.ndarray]:
        """Take the tensors and bring them into the layout of the model file."""
        result = {}
        for target, source, layout in places:
            values = self.take(source)
            if layout != "same":
                axes, rearrange = _LAYOUTS[layout]
                if values.ndim != axes:
                    raise ConversionError(f"{source} has the shape {values.shape}; expected {axes} axes")
                values = rearrange(values)
            result[target] = values
        return result

    def drop(self, prefix: str) -> list[str]:
        """Take all tensors whose names start so, and return their names."""
        names = [name for name in self.left if name.startswith(prefix)]
        for name in names:
            del self.left[name]
        return names

    def refuse_rest(self) -> None:
        """Nothing may be left over: an unknown tensor is an unknown feature."""
        if self.left:
            raise ConversionError(
                f"the source has the tensor {sorted(self.left)[0]}, for which so3md has no place "
                f"({len(self.left)} such tensors in all): this kind of model is not supported"
            )


def words(text: str) -> frozenset[str]:
    """The words of a text, for long lists of names."""
    return frozenset(text.split())


def checked_degrees(degrees: Any) -> list[int]:
    """The list of degrees, which may be repeated.

    Those that decrease are refused: the public programs contract them in another order than they make them, so that
    their energies change when a molecule is turned.
    """
    if not isinstance(degrees, list | tuple):
        raise ConversionError(f"the degrees are {degrees!r}, not a list")
    if list(degrees) != sorted(degrees):
        raise ConversionError(
            f"the degrees {list(degrees)} decrease: with these the original program breaks the symmetry under rotation"
        )
    return list(degrees)


def choose(value: Any, choices: dict[Any, Any], what: str) -> Any:
    """Translate an option of the source, or refuse its value by name."""
    if not isinstance(value, str | int | float | bool | None) or value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise ConversionError(f"{what} is {value!r}, which so3md does not support; supported: {known}")
    return choices[value]


def pair_physics(options: dict[str, Any]) -> dict[str, Any]:
    """The terms besides the network, by the names that the torch and the JAX program share."""
    electrostatics, dispersion = options["electrostatic_energy_bool"], options["dispersion_energy_bool"]
    damping = {"type": "vdw_qdo", "damping_scale": float(options["dispersion_energy_scale"])} if dispersion else None
    return {
        # The switch of the repulsion is the same in all models of both programs.
        "zbl": {"switch_on": 0.0, "switch_off": 1.5} if options["zbl_repulsion_bool"] else None,
        "electrostatics": {"sigma": float(options["electrostatic_energy_scale"])} if electrostatics else None,
        "dispersion": damping,
    }
