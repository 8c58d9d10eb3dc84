"""What a network in training sees of the positions, and its slopes, against the reference functions differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from so3md.reference import functions  # noqa: E402
from so3md.training.geometry import Geometry, make_geometry  # noqa: E402

CUTOFF = 5.0
CUTOFF_FUNCTIONS = [
    {"type": "phys"},
    {"type": "cosine"},
    {"type": "polynomial", "exponent": 6.0},
    {"type": "exponential"},
]
BASES: dict[str, Callable[[Any], Any]] = {
    "bernstein": lambda r: functions.bernstein_basis(r, 32, 0.95),
    "bessel": lambda r: functions.bessel_basis(r, 32, CUTOFF),
    "phys": lambda r: functions.phys_basis(r, 32, CUTOFF),
}
DEGREES = [[1, 2, 3, 4], [0], [0, 2], [1, 1, 3], list(range(9)), [8] * 9]
#: Rounding: values are of size one, and products of some thirty factors; slopes are of some 50 over the distance.
EPSILON = float(np.finfo(float).eps)
VALUES, SLOPES = 64 * EPSILON, 64 * 50 * EPSILON


def pairs() -> Any:
    """Displacements (A) in all directions, along the axes too, one close to the cutoff, one at it and one beyond.

    They fill no whole number of registers.
    """
    rng = np.random.default_rng(5)
    directions = rng.standard_normal((17, 3))
    lengths = np.linspace(0.6, 4.999, len(directions))
    some = directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths[:, None]
    axes = np.array([[0, 0, 1.1], [0, 0, -2.0], [1.4, 0, 0], [0, -0.9, 0], [CUTOFF, 0, 0], [3.1, 3.1, 3.1]])
    return torch.from_numpy(np.concatenate([some, axes]))


def hyperparameters(**changes: Any) -> dict[str, Any]:
    return {
        "cutoff": CUTOFF,
        "cutoff_function": {"type": "phys"},
        "radial_basis": {"type": "bernstein", "size": 32, "gamma": 0.95},
        "degrees": [1, 2],
    } | changes


def geometry(dtype: Any = torch.float64, **changes: Any) -> Geometry:
    return make_geometry(pairs(), hyperparameters(**changes), dtype)


def along_distance(function: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A function of the distance, and its slope."""
    distance = torch.linalg.vector_norm(pairs(), dim=-1)
    return torch.func.jvp(function, (distance,), (torch.ones_like(distance),))


def close(found: Any, expected: Any, bound: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", CUTOFF_FUNCTIONS, ids=lambda kind: kind["type"])
def test_cutoff_functions_and_lengths(kind: dict[str, Any]) -> None:
    found = geometry(cutoff_function=kind)
    phi, slope = along_distance(lambda r: functions.cutoff_function(kind["type"], r, CUTOFF, kind.get("exponent", 0.0)))
    # The polynomials are sums of terms that are larger than they by (p + 1)(p + 2) / 2.
    close(found.phi, phi, 28 * VALUES)
    close(found.phi_slope, slope, 28 * VALUES)
    assert found.phi[-1] == found.phi_slope[-1] == 0
    close(found.distance, torch.linalg.vector_norm(pairs(), dim=-1), 8 * EPSILON)
    close(found.unit * found.distance[:, None], pairs(), 8 * EPSILON)
    assert torch.equal(found.displacement, pairs())


@pytest.mark.parametrize("kind", BASES)
def test_radial_bases(kind: str) -> None:
    found = geometry(radial_basis={"type": kind, "size": 32, "gamma": 0.95})
    values, slopes = along_distance(BASES[kind])
    close(found.basis[: len(values)], values, SLOPES)
    # With the width of a function of 32, slopes are 32 times what they are of.
    close(found.basis[len(values) :], slopes, 32 * SLOPES)


def test_a_basis_with_parameters_is_left_to_the_network() -> None:
    found = geometry(radial_basis={"type": "gaussian", "size": 32})
    assert found.basis.shape == (2 * len(pairs()), 0)


@pytest.mark.parametrize("degrees", DEGREES, ids=str)
def test_spherical_harmonics(degrees: list[int]) -> None:
    found = geometry(degrees=degrees)

    def harmonics(d: Any) -> Any:
        return functions.spherical_harmonics(d / torch.linalg.vector_norm(d, dim=-1, keepdim=True), degrees)

    close(found.harmonics, harmonics(pairs()), VALUES)
    for axis, direction in enumerate(torch.eye(3, dtype=torch.float64)):
        _, expected = torch.func.jvp(harmonics, (pairs(),), (direction.expand(len(pairs()), 3),))
        close(found.harmonics_gradient[:, :, axis], expected, SLOPES)


def test_single_precision_is_double_precision_rounded_once() -> None:
    for single, double in zip(geometry(torch.float32), geometry(torch.float64), strict=True):
        assert single.dtype == torch.float32
        assert torch.equal(single, double.to(torch.float32))


def test_no_pairs_and_one() -> None:
    for count in (0, 1):
        found = make_geometry(pairs()[:count], hyperparameters(), torch.float64)
        assert [len(value) for value in found] == [count] * 5 + [2 * count] + [count] * 2
        for part, whole in zip(found, geometry(), strict=True):
            if part is not found.basis:
                assert torch.equal(part, whole[:count])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"degrees": []}, "degrees"),
        ({"degrees": [9]}, "degrees"),
        ({"degrees": [2, 1]}, "degrees"),
        ({"degrees": [8] * 10}, "degrees"),
        ({"cutoff_function": {"type": "step"}}, "cutoff function 'step'"),
        ({"radial_basis": {"type": "sines", "size": 3}}, "radial basis 'sines'"),
    ],
)
def test_what_the_engine_does_not_know_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        geometry(**changes)
