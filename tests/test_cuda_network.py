"""The network's kernels for GPUs give the numbers of the CPU's, for every option of a model and every width.

The structures have several elements, and atoms with more edges than a tile of eight and with fewer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from toy_models import ETHANOL_LIKE, VARIANTS, VARIANTS_2023, VARIANTS_SO3LR2

from so3md._engine import Engine, Model, ModelError

EVERY_VARIANT = VARIANTS | VARIANTS_2023 | VARIANTS_SO3LR2

#: Heads that fill lanes partly, one lane each, or more channels than a lane's quad: every layout of rows on a GPU.
WIDTHS: dict[str, dict[str, Any]] = {
    "eight_lanes": {"num_features": 128, "num_heads": 4, "degrees": [1, 2, 3, 4], "spherical_hidden": 32},
    "one_lane": {"num_features": 32, "num_heads": 8, "degrees": [1, 2]},
    "narrow_heads": {"num_features": 30, "num_heads": 15, "degrees": [0, 1, 2]},
    "two_passes": {"num_features": 132, "num_heads": 4, "degrees": [0, 1, 2, 3]},
    "four_passes": {"num_features": 260, "num_heads": 2, "degrees": [1, 2]},
    "one_wide_head": {"num_features": 130, "num_heads": 1, "degrees": [1]},
    "all_degrees": {"num_features": 36, "num_heads": 4, "degrees": [0, 1, 2, 3, 4, 5, 6, 7, 8], "spherical_hidden": 40},
}


def molecule(charge: float = 1.0, spin: float = 0.5) -> dict[str, Any]:
    """Ethanol-like, off its equilibrium, with a hydrogen molecule at a distance where few edges reach it."""
    rng = np.random.default_rng(17)
    positions = np.vstack([ETHANOL_LIKE, [[4.7, 0.6, 0.3], [5.3, 0.9, 0.6]]])
    return {
        "numbers": np.array([6, 6, 8, 1, 1, 1, 1, 1, 1, 1, 1]),
        "positions": positions + rng.normal(0, 0.04, positions.shape),
        "cell": np.zeros((3, 3)),
        "pbc": np.zeros(3, bool),
        "charge": charge,
        "spin": spin,
    }


def crystal() -> dict[str, Any]:
    """Thinner than the cutoff, so that atoms meet their own images."""
    structure = molecule(charge=0.0, spin=0.0)
    return structure | {"cell": np.array([[8.2, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.8, 0.9, 4.9]]), "pbc": np.ones(3, bool)}


OPTIONS = {"lr_cutoff": 7.0, "lr_damping": 1.5}


def engines(model: Model, device: str, **options: Any) -> tuple[Engine, Engine]:
    """One of the device, one of the CPU."""
    options = OPTIONS | options
    return Engine(model, device=device, **options), Engine(model, **options)


def assert_close(found: dict, expected: dict, tolerance: tolerances.Tolerance) -> None:
    scale = max(1.0, float(np.abs(expected["forces"]).max()))
    np.testing.assert_allclose(found["energies"], expected["energies"], rtol=0, atol=tolerance.component * scale)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=tolerance.forces * scale)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=tolerance.component * scale)
    for key in ("charges", "hirshfeld_ratios"):
        assert (key in found) == (key in expected)
        if key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=tolerance.charges * scale)


@pytest.mark.parametrize("structure", [molecule(), crystal()], ids=["molecule", "crystal"])
@pytest.mark.parametrize("tabulate", [False, True], ids=["exact", "tabulated"])
@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_every_option_in_double(
    toy_model: Callable[..., Path], device: str, variant: str, tabulate: bool, structure: dict
) -> None:
    model = Model(str(toy_model(seed=3, **EVERY_VARIANT[variant])))
    other, cpu = engines(model, device, precision="double", tabulate=tabulate)
    assert_close(other.evaluate(**structure), cpu.evaluate(**structure), tolerances.DEVICE)


@pytest.mark.parametrize("variant", ["default", "linear_heads", "all_of_2023", "neighbour_sum", "identity"])
def test_mixed(toy_model: Callable[..., Path], device: str, variant: str) -> None:
    model = Model(str(toy_model(seed=3, **EVERY_VARIANT[variant])))
    bounds = tolerances.rounding(model, crystal(), **OPTIONS)
    for tabulate in (False, True):
        other, cpu = engines(model, device, precision="mixed", tabulate=tabulate)
        tolerances.assert_within(bounds, other.evaluate(**crystal()), cpu.evaluate(**crystal()), f"{tabulate=}")


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("widths", WIDTHS)
def test_every_width(toy_model: Callable[..., Path], device: str, widths: str, precision: str) -> None:
    model = Model(str(toy_model(seed=6, **WIDTHS[widths])))
    other, cpu = engines(model, device, precision=precision)
    found, expected = other.evaluate(**molecule()), cpu.evaluate(**molecule())
    if precision == "double":
        assert_close(found, expected, tolerances.DEVICE)
        return
    tolerances.assert_within(tolerances.rounding(model, molecule(), **OPTIONS), found, expected)


@pytest.mark.parametrize("variant", ["default", "all_of_2023"])
def test_features_of_every_layer(toy_model: Callable[..., Path], device: str, variant: str) -> None:
    model = Model(str(toy_model(seed=3, **EVERY_VARIANT[variant])))
    other, cpu = engines(model, device, precision="double")
    found, expected = other.intermediates(**crystal()), cpu.intermediates(**crystal())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=tolerances.DEVICE.features, err_msg=key)


def test_packed_tables_at_all_distances(so3lr_path: Path, device: str) -> None:
    """In `mixed`, a GPU packs the CPU's splines into cubics: forces are those of the networks at any distance."""
    model = Model(str(so3lr_path))
    other = Engine(model, device=device, precision="mixed", **OPTIONS)
    exact = Engine(model, precision="double", tabulate=False, **OPTIONS)
    for distance in np.linspace(0.6, 4.45, 24):
        water = {
            "numbers": np.array([8, 1, 1]),
            "positions": np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0], [0.2, 0.95, 0.1]]),
            "cell": np.zeros((3, 3)),
            "pbc": np.zeros(3, bool),
            "charge": 0.0,
            "spin": 0.0,
        }
        found, expected = other.evaluate(**water), exact.evaluate(**water)
        tolerances.assert_within(tolerances.rounding(model, water, **OPTIONS), found, expected, f"{distance:.3f} A")


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_same_bits_again(toy_model: Callable[..., Path], device: str, precision: str) -> None:
    """Also after a larger system, which leaves its numbers in the arrays."""
    model = Model(str(toy_model(seed=3)))
    engine = engines(model, device, precision=precision)[0]
    first = engine.evaluate(**molecule())
    engine.evaluate(**crystal())
    fresh = engines(model, device, precision=precision)[0].evaluate(**molecule())
    again = engine.evaluate(**molecule())
    for result in (again, fresh):
        assert result["energy"] == first["energy"]
        np.testing.assert_array_equal(result["forces"], first["forces"])
        np.testing.assert_array_equal(result["virial"], first["virial"])


_PRINT_FORCES = """
import sys
sys.path.insert(0, sys.argv[2])
import test_cuda_network as tests
from so3md._engine import Model
result = tests.engines(Model(sys.argv[1]), "cuda-emulation", precision="mixed")[0].evaluate(**tests.crystal())
print(result["forces"].tobytes().hex())
"""


def test_order_of_threads_does_not_matter(toy_model: Callable[..., Path], device: str) -> None:
    """The emulation can run threads and blocks backwards: a kernel that forgets to wait gives other numbers then."""
    if device != "cuda-emulation":
        pytest.skip("only the emulation can choose the order of threads")
    path = str(toy_model(seed=3, residual_mlp_2=True))
    printed = []
    for order in ("forward", "reverse"):
        environment = os.environ | {"SO3MD_EMULATION_ORDER": order}
        command = [sys.executable, "-c", _PRINT_FORCES, path, str(Path(__file__).parent)]
        printed.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert printed[0] == printed[1]
    assert len(printed[0]) > 100


#: Numbers per atom of SO3LR's network with tables (CudaNetwork::allocate). Of three layers, rows of 128 features and 24
#: coordinates before and after the attention (the first layer's input comes from tables), 128 inside the residual block
#: and 128 before the last norm, and the scales of 4 degrees; projections (five times 128) and their gradients, in which
#: scratch lies; gradients of features and coordinates, before and after the attention.
_NETWORK_NUMBERS = 2 * (128 + 24) + 3 * (128 + 24 + 128 + 128 + 4) + 2 * 5 * 128 + 2 * (128 + 24)

#: Positions, results, species, sums and lists without entries.
_BYTES_BESIDE_THE_NETWORK = 600


def test_memory_per_atom(so3lr_path: Path, device: str) -> None:
    """A million atoms are to fit: arrays that grow with the number of atoms are counted, here without neighbours."""
    model = Model(str(so3lr_path))

    def bytes_in_use(atoms: int) -> int:
        engine = Engine(model, device=device, precision="mixed", lr_cutoff=7.0, lr_damping=1.5)
        before = engine.info()["device_memory"]["now"]
        positions = 15.0 * np.stack(np.unravel_index(np.arange(atoms), (8, 8, 8)), axis=1)
        numbers = np.ones(atoms, int)
        engine.evaluate(
            numbers=numbers, positions=positions, cell=np.zeros((3, 3)), pbc=np.zeros(3, bool), charge=0.0, spin=0.0
        )
        return engine.info()["device_memory"]["now"] - before

    few, many = 64, 192
    per_atom = (bytes_in_use(many) - bytes_in_use(few)) / (many - few)
    assert 4 * _NETWORK_NUMBERS <= per_atom <= 4 * _NETWORK_NUMBERS + _BYTES_BESIDE_THE_NETWORK


def test_what_is_too_wide_is_named(toy_model: Callable[..., Path], device: str) -> None:
    model = Model(str(toy_model(num_features=72, num_heads=36, degrees=[1, 2])))
    with pytest.raises(ModelError, match="num_heads = 36"):
        Engine(model, device=device)
    wide = Model(str(toy_model(radial_basis={"type": "bernstein", "size": 16, "gamma": 1.0}, radial_hidden=800)))
    with pytest.raises(ModelError, match="radial_hidden 800"):
        Engine(wide, device=device, precision="double")
    Engine(wide, device=device, precision="mixed")
