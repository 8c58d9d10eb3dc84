"""Constants of the NLH repulsion, for pairs of the elements of SO3LR (eq. (96) of docs/theory.md).

They are no parameters of a trained model: programs hold them as constants. Source: K. Nordlund, S. Lehtola, G. Hobler,
arXiv:2501.06617 (2025), whose tables go to uranium. The third exponential there is zero for all of these pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from so3md.convert.errors import ConversionError

#: A1, B1 and B2 in 1/A; A2 is 1 - A1. Every digit counts: H-H is the difference of two large terms.
_PAIRS: dict[str, tuple[float, float, float]] = {
    "H-H": (-8.99999, 9.55658, 8.89086),
    "H-C": (0.04216, 52.55236, 4.02649),
    "H-N": (0.00946, 253.6277, 4.54159),
    "H-O": (0.00153, 999.99999, 4.93687),
    "H-F": (1.0, 5.38074, 0.0),
    "H-P": (0.28809, 17.15894, 3.47154),
    "H-S": (0.22579, 22.36467, 3.77146),
    "H-Cl": (0.19633, 25.98855, 3.96955),
    "C-C": (0.15875, 20.65075, 4.29817),
    "C-N": (0.09907, 35.09099, 4.63719),
    "C-O": (0.05935, 59.31852, 4.92698),
    "C-F": (0.06816, 57.86994, 4.85651),
    "C-P": (0.30863, 15.9689, 3.83197),
    "C-S": (0.27393, 19.11358, 3.94257),
    "C-Cl": (0.31265, 16.85096, 3.81751),
    "N-N": (0.02813, 110.69827, 5.12699),
    "N-O": (0.04526, 80.65992, 5.07099),
    "N-F": (0.08337, 49.44156, 4.83986),
    "N-P": (0.23667, 22.19825, 4.14298),
    "N-S": (0.25229, 21.04802, 4.11423),
    "N-Cl": (0.25455, 21.43437, 4.12348),
    "O-O": (0.0409, 81.70265, 5.09515),
    "O-F": (0.08041, 52.76301, 4.87874),
    "O-P": (0.21881, 24.50607, 4.27378),
    "O-S": (0.20993, 26.29861, 4.34429),
    "O-Cl": (0.22814, 24.64182, 4.297),
    "F-F": (0.10381, 39.89409, 4.74579),
    "F-P": (0.26216, 20.29826, 4.15216),
    "F-S": (0.24969, 22.02204, 4.22833),
    "F-Cl": (0.256, 21.98517, 4.23053),
    "P-P": (0.51547, 11.37488, 3.36302),
    "P-S": (0.54394, 11.16681, 3.26743),
    "P-Cl": (0.5598, 11.24184, 3.19868),
    "S-S": (0.52276, 11.93396, 3.3341),
    "S-Cl": (0.54583, 11.76255, 3.25441),
    "Cl-Cl": (0.5484, 11.87593, 3.25387),
}

#: Where the repulsion is switched off, A: the same in all models.
SWITCH = {"switch_on": 0.0, "switch_off": 1.5}


def _by_numbers() -> dict[tuple[int, int], tuple[float, float, float]]:
    found = {}
    for pair, values in _PAIRS.items():
        i, j = (atomic_numbers[symbol] for symbol in pair.split("-"))
        found[i, j] = found[j, i] = values
    return found


def coefficients(elements: Sequence[int]) -> np.ndarray:
    """(elements, elements, 3): A1, B1, B2 for atomic numbers. Raises ConversionError for elements without constants."""
    table = _by_numbers()
    unknown = sorted({number for number in elements if (number, number) not in table})
    if unknown:
        known = sorted({i for i, _ in table})
        raise ConversionError(
            f"the NLH repulsion has no constants here for {_symbols(unknown)}, only for {_symbols(known)}"
        )
    return np.array([[table[i, j] for j in elements] for i in elements], dtype=np.float64).reshape(
        len(elements), len(elements), 3
    )


def _symbols(numbers: Sequence[int]) -> str:
    return " ".join(chemical_symbols[number] for number in numbers)
