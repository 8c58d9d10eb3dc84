"""Clebsch-Gordan coefficients of real harmonics against sympy and against what defines them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

torch = pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")
wigner = pytest.importorskip("sympy.physics.wigner", reason="the comparison needs sympy, which comes with PyTorch")

from so3md.reference.clebsch_gordan import complex_coefficient, real_coefficients  # noqa: E402
from so3md.reference.functions import spherical_harmonics  # noqa: E402

#: Sums of products of a few dozen numbers of order one.
ROUNDING = 1e-13
#: Rotation matrices of degree 8 from a fit to harmonics.
FITTED = 1e-11

#: (l3, l1, l2): all up to degree 4, and some up to the largest degree of a model.
TRIPLES = [t for t in product(range(5), repeat=3) if abs(t[1] - t[2]) <= t[0] <= t[1] + t[2]]
TRIPLES += [(8, 8, 8), (7, 8, 8), (8, 7, 8), (5, 6, 8), (6, 5, 8), (2, 6, 7), (1, 7, 8), (3, 5, 7)]
SMALL = [t for t in TRIPLES if max(t) <= 3]


def harmonics(unit: np.ndarray, degree: int) -> np.ndarray:
    return spherical_harmonics(torch.tensor(unit), [degree]).numpy()


def directions(count: int, seed: int = 0) -> np.ndarray:
    u = np.random.default_rng(seed).standard_normal((count, 3))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


@pytest.mark.parametrize(("l3", "l1", "l2"), SMALL)
def test_complex_coefficients_are_those_of_sympy(l3: int, l1: int, l2: int) -> None:
    for m1, m2 in product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
        if abs(m1 + m2) <= l3:
            expected = float(wigner.clebsch_gordan(l1, l2, l3, m1, m2, m1 + m2))
            assert complex_coefficient(l1, m1, l2, m2, l3, m1 + m2) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(("l3", "l1", "l2"), [t for t in SMALL if sum(t) % 2 == 0])
def test_even_sums_are_positive_multiples_of_sympys_real_gaunt_coefficients(l3: int, l1: int, l2: int) -> None:
    found = real_coefficients(l3, l1, l2)
    orders = product(range(-l3, l3 + 1), range(-l1, l1 + 1), range(-l2, l2 + 1))
    gaunt = np.array([float(wigner.real_gaunt(l3, l1, l2, *m)) for m in orders]).reshape(found.shape)
    np.testing.assert_allclose(found, gaunt / np.linalg.norm(gaunt), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("l3", "l1", "l2"), TRIPLES)
def test_rotations_commute_with_the_coupling(l3: int, l1: int, l2: int) -> None:
    """With the normalisation this fixes the coefficients but for one sign a triple."""
    rotation, u = Rotation.from_rotvec([0.4, -1.3, 0.8]).as_matrix(), directions(60)
    d3, d1, d2 = (np.linalg.lstsq(harmonics(u, n), harmonics(u @ rotation.T, n))[0].T for n in (l3, l1, l2))
    c = real_coefficients(l3, l1, l2)
    np.testing.assert_allclose(np.einsum("zc,cab->zab", d3, c), np.einsum("zxy,xa,yb->zab", c, d1, d2), atol=FITTED)
    np.testing.assert_allclose(np.einsum("zab,cab->zc", c, c), np.eye(2 * l3 + 1) / (2 * l3 + 1), atol=FITTED)


@pytest.mark.parametrize(("l3", "l1", "l2"), TRIPLES)
def test_signs(l3: int, l1: int, l2: int) -> None:
    """Even sums: the harmonics of a direction couple to a positive multiple of theirs; odd sums: to nothing."""
    u = directions(7, seed=1)
    coupled = np.einsum("cab,na,nb->nc", real_coefficients(l3, l1, l2), harmonics(u, l1), harmonics(u, l2))
    if (l1 + l2 + l3) % 2:
        np.testing.assert_allclose(coupled, 0, atol=FITTED)
    else:
        y = harmonics(u, l3)
        factor = (coupled * y).sum() / (y * y).sum()
        assert factor > 1e-3
        np.testing.assert_allclose(coupled, factor * y, atol=FITTED)


@pytest.mark.parametrize(("l3", "l1", "l2"), [t for t in TRIPLES if sum(t) % 2 and max(t) <= 4])
def test_signs_of_odd_sums(l3: int, l1: int, l2: int) -> None:
    """u . (grad Y1 x grad Y2) is a negative multiple of the coupling (docs/theory.md)."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    angles = np.arange(24) * 2 * np.pi / 24
    z, angle = (a.ravel() for a in np.meshgrid(nodes, angles, indexing="ij"))
    s = np.sqrt(1 - z**2)
    u = np.stack([s * np.cos(angle), s * np.sin(angle), z], -1)

    def gradients(degree: int) -> np.ndarray:
        total = torch.autograd.functional.jacobian(
            lambda v: spherical_harmonics(v, [degree]).sum(0), torch.tensor(u)
        ).numpy()
        total = total.transpose(1, 0, 2)
        return total - np.einsum("nmk,nk,nj->nmj", total, u, u)

    cross = np.cross(gradients(l1)[:, :, None], gradients(l2)[:, None])
    weight = np.repeat(weights, len(angles)) * 2 * np.pi / len(angles)
    integrals = np.einsum("n,nc,nk,nabk->cab", weight, harmonics(u, l3), u, cross)
    found = real_coefficients(l3, l1, l2)
    np.testing.assert_allclose(found, -integrals / np.linalg.norm(integrals), atol=FITTED)


def test_no_triangle() -> None:
    assert real_coefficients(4, 1, 2).shape == (9, 3, 5)
    assert not real_coefficients(4, 1, 2).any()


def test_written_out() -> None:
    """Values of the original's table (index [m3, m1, m2] from -l on)."""
    assert real_coefficients(1, 1, 2)[0, 0, 2] == pytest.approx(-0.18257418583505536, abs=ROUNDING)
    assert real_coefficients(3, 1, 2)[3, 1, 2] == pytest.approx(0.29277002188455992, abs=ROUNDING)
    for degree in range(5):
        expected = np.eye(2 * degree + 1) / np.sqrt(2 * degree + 1)
        np.testing.assert_allclose(real_coefficients(0, degree, degree)[0], expected, atol=ROUNDING)
