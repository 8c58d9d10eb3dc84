"""The reference model against the second generation of SO3LR: every quantity of the parity data."""

from __future__ import annotations

import numpy as np
import pytest
from so3lr2_models import CASES, load_case, odd_signs, parity_model
from tolerances import PARITY

pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")

from so3md.reference import reference_model

#: Components of the data and of so3md; the repulsion keeps the name of that of the first generation.
COMPONENTS = {"nn": "nn", "repulsion": "zbl", "electrostatics": "electrostatics", "dispersion": "dispersion"}


def assert_close(found: object, expected: object, tolerance: float, what: str = "") -> None:
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance, err_msg=what)


@pytest.mark.parametrize(("model", "system"), CASES)
def test_results(model: str, system: str) -> None:
    case = load_case(model, system)
    reference = reference_model(parity_model(model, case.theory_level))
    found = reference.evaluate(**case.structure, lr_cutoff=case.lr_cutoff, lr_damping=case.lr_damping)
    expected = case.expected
    assert_close(found["energy"], expected["energy"], PARITY.energy_per_atom)
    assert_close(found["forces"], expected["forces"], PARITY.forces)
    assert_close(found["charges"], expected["partial_charges"], PARITY.charges)
    assert_close(found["dipole"], expected["dipole"], PARITY.charges)
    assert_close(found["hirshfeld_ratios"], expected["hirshfeld_ratios"], PARITY.charges)
    assert_close(found["c6_ratios"], expected["c6_ratios"], PARITY.charges)
    for theirs, ours in COMPONENTS.items():
        shift = expected["energy_shift_per_atom"].sum() if theirs == "nn" else 0.0
        assert_close(found["energy_components"][ours], expected[f"energy_{theirs}"] + shift, PARITY.component, theirs)
    if case.structure["pbc"].any():
        assert_close(found["stress"], expected["stress"], PARITY.stress)


@pytest.mark.parametrize(("model", "system"), [case for case in CASES if case[1] == "mixed_lr12"])
def test_features_of_every_layer(model: str, system: str) -> None:
    case = load_case(model, system)
    file = parity_model(model, case.theory_level)
    result = reference_model(file).evaluate(
        **case.structure, lr_cutoff=case.lr_cutoff, lr_damping=case.lr_damping, intermediates=True
    )
    found, signs = result["intermediates"], odd_signs(file.hyperparameters["degrees"])
    for t in range(file.hyperparameters["num_layers"]):
        assert_close(found[f"layer{t}_x_in"], case.expected[f"xin{t}"], PARITY.features)
        assert_close(found[f"layer{t}_x_out"], case.expected[f"x{t + 1}"], PARITY.features)
        assert_close(found[f"layer{t}_chi_out"] * signs, case.expected[f"chi{t + 1}"], PARITY.features)


def test_every_level_of_theory() -> None:
    case = load_case("all", "mixed_lr12")
    energies = [
        reference_model(parity_model("all", level)).evaluate(
            **case.structure, lr_cutoff=case.lr_cutoff, lr_damping=case.lr_damping
        )
        for level in range(len(case.expected["energy_all_levels"]))
    ]
    assert_close([one["energy"] for one in energies], case.expected["energy_all_levels"], PARITY.energy_per_atom)
    assert_close(energies[0]["forces"], case.expected["forces_level_0"], PARITY.forces)
