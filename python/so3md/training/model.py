"""The models that are trained: energies of a batch and, from one derivative, forces and stress.

`FastSo3krates` is the quick form of architecture "so3krates" without what the second generation of SO3LR brought;
`ReferenceNetwork` trains any network of `so3md.reference` as it is. Both have the parameters of a model file, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from so3md.architectures import SO3KRATES, second_generation
from so3md.long_range import OF_MODEL
from so3md.model_file import ModelFile
from so3md.present import present
from so3md.reference.graph import Edges, Graph
from so3md.reference.model import ReferenceModel
from so3md.reference.network import ChargeHead, Embedding, EnergyHead, HirshfeldHead, RadialBasis
from so3md.reference.physics import Dispersion, ZblRepulsion, electrostatic_energy
from so3md.training.batches import Batch, Cutoffs, Pairs
from so3md.training.fast_model import FastLayer, activation, complete_hyperparameters
from so3md.training.layer_steps import NetworkSteps, Steps, features, slopes
from so3md.training.native_steps import NativeNetwork, NativeSteps, is_native
from so3md.training.pair_forces import along_displacement, pair_forces
from so3md.training.pair_steps import Edges as PairEdges
from so3md.training.pair_steps import signs
from so3md.training.smooth import value_and_slope

#: Tensors that are not trained and keep all their digits.
_CONSTANTS = ("dispersion.", "nlh.")
#: Ends of the names of tensors that are matrices, or stacks of them; docs/model_file.md lists all tensors. Tables with
#: a row for each element are none: what is done to a whole matrix would change elements that the data do not have.
_MATRICES = (".weight", "_features", "_coordinates", ".mlp1", ".mlp2")
_NO_ATOMS = torch.empty(0, dtype=torch.long)
_NO_EDGES = Edges(_NO_ATOMS, _NO_ATOMS, torch.empty(0, 3))  # in the graph of a network that is given pairs


@dataclass
class Prediction:
    """What a model says of a batch: energy (structures) without the atoms' shifts, eV; forces (n, 3) eV/A and virial
    (structures, 3, 3) eV if asked for; charges (n) e, dipole (structures, 3) e A, hirshfeld_ratios (n) if it has them.
    """

    energy: Tensor
    forces: Tensor | None = None
    virial: Tensor | None = None
    charges: Tensor | None = None
    dipole: Tensor | None = None
    hirshfeld_ratios: Tensor | None = None


class TrainableModel(nn.Module):
    """A network whose `energies` depends on leaves that hold the positions, which `predict` differentiates.

    The constants of the atoms (energy.shift) are kept apart, in double precision: in single precision the total
    energy of a molecule could not be resolved.
    """

    def __init__(self, file: ModelFile, lr_cutoff: float | str | None) -> None:
        """lr_cutoff: for all structures, or OF_MODEL for those that the file says."""
        super().__init__()
        self.hyper, self.elements = file.hyperparameters, list(file.elements)
        self.lr_damping = file.long_range_damping
        self.lr_cutoffs = (
            Cutoffs(file.long_range_cutoff, file.molecule_cutoff)
            if isinstance(lr_cutoff, str)
            else Cutoffs(lr_cutoff, lr_cutoff)
        )
        self.shift = np.array(file.tensors["energy.shift"], dtype=float)
        self._constants = {name: value for name, value in file.tensors.items() if name.startswith(_CONSTANTS)}

    #: Whether batches must come with a `Geometry`.
    takes_geometry = False

    @property
    def takes_native_steps(self) -> bool:
        """Whether the layers are computed by kernels of the engine, see `native_steps`."""
        return False

    @property
    def threads(self) -> int:
        """Those that share a step."""
        return torch.get_num_threads()

    def use_threads(self, count: int) -> None:
        """Let so many threads of this process share a step."""
        torch.set_num_threads(count)

    @property
    def sees_all_pairs(self) -> bool:
        """Whether pairs beyond the cutoff matter."""
        return self.hyper.get("nonlocal") is not None

    @property
    def has_long_range(self) -> bool:
        """Whether there are terms with a range of their own."""
        return self.hyper.get("electrostatics") is not None or self.hyper.get("dispersion") is not None

    def long_parts(self, batch: Batch) -> Iterator[tuple[float | None, Tensor | None]]:
        """The long-range cutoffs of the structures of a batch, each with the numbers of its long pairs; None: all."""
        if self.lr_cutoffs.periodic == self.lr_cutoffs.molecules or not batch.periodic.any():
            yield self.lr_cutoffs.molecules, None
        elif batch.periodic.all():
            yield self.lr_cutoffs.periodic, None
        else:
            periodic = batch.periodic[batch.structure[present(batch.long_pairs).first]]
            yield self.lr_cutoffs.periodic, torch.nonzero(periodic).squeeze(-1)
            yield self.lr_cutoffs.molecules, torch.nonzero(~periodic).squeeze(-1)

    def views(self) -> Iterator[tuple[str, Tensor]]:
        """Name in the model file and values of every tensor; they share memory with the parameters."""
        raise NotImplementedError

    def views_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """Those of `views` that lie in a parameter."""
        begin, end = parameter.data_ptr(), parameter.data_ptr() + parameter.numel() * parameter.element_size()
        return {name: value for name, value in self.views() if begin <= value.data_ptr() < end}

    def is_of_matrices(self, parameter: Tensor) -> bool:
        """Whether a parameter has nothing but matrices, or stacks of them."""
        return all(name.endswith(_MATRICES) for name in self.views_of(parameter))

    def load(self, file: ModelFile) -> None:
        """Take the tensors of a model file, all but the shifts of the atoms."""
        with torch.no_grad():
            for name, value in self.views():
                value.copy_(torch.from_numpy(np.array(file.tensors[name])))
            self.energy_shift.zero_()

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of a model file with the present parameters."""
        own = {name: value.detach().cpu().numpy().copy() for name, value in self.views()}
        return own | {"energy.shift": self.shift} | self._constants

    @property
    def energy_shift(self) -> Tensor:
        raise NotImplementedError

    def energies(self, batch: Batch, track: bool) -> tuple[Prediction, Leaves]:
        """Energies, charges and ratios, and the leaves of which the energies are functions, tracked if wanted."""
        raise NotImplementedError

    def predict(
        self, batch: Batch, forces: bool = True, virial: bool = False, create_graph: bool = False
    ) -> Prediction:
        """Everything about a batch. create_graph: so that forces and virial can be differentiated in turn."""
        wanted = forces or virial
        with torch.set_grad_enabled(wanted or torch.is_grad_enabled()):
            result, leaves = self.energies(batch, track=wanted)
            if result.charges is not None:
                result.dipole = batch.sum_structures(result.charges[:, None] * batch.positions)
            if wanted:
                leaves.differentiate(result, batch, virial, create_graph)
        return result


@dataclass
class Leaves:
    """What the energy is a function of, as far as it is moved by the positions; None where the network does not use it.

    displacement, long_displacement (pairs, 3); phi (pairs) of the geometry; features (n, F) of the steps, which are in
    turn functions of distance, phi and harmonics of the geometry.
    """

    displacement: Tensor | None = None
    phi: Tensor | None = None
    features: Tensor | None = None
    long_displacement: Tensor | None = None
    steps: Steps | None = None

    def differentiate(self, result: Prediction, batch: Batch, virial: bool, create_graph: bool) -> None:
        """Add forces, and the virial if wanted, to the result."""
        used = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        gradients = dict(
            zip(
                used,
                torch.autograd.grad(
                    result.energy.sum(), list(used.values()), create_graph=create_graph, materialize_grads=True
                ),
                strict=True,
            )
        )
        short = self._pair_gradient(gradients, batch)
        parts = [(batch.pairs, short)]
        if "long_displacement" in gradients:
            parts.append((present(batch.long_pairs), gradients["long_displacement"]))
        forces = [pair_forces(len(batch.positions), pairs.first, pairs.second, gradient) for pairs, gradient in parts]
        result.forces = sum(forces[1:], forces[0])
        if virial:
            first, *others = (_virial(pairs, gradient, batch) for pairs, gradient in parts)
            result.virial = sum(others, first)

    def _pair_gradient(self, gradients: dict[str, Tensor], batch: Batch) -> Tensor:
        """dE/d(displacement) of the short pairs, (pairs, 3)."""
        total = gradients.get("displacement")
        if self.steps is not None:
            geometry = present(batch.geometry)
            by_distance, by_phi, by_harmonics = slopes(self.steps, gradients["features"], present(self.features))
            if "phi" in gradients:
                by_phi = by_phi + gradients["phi"]
            direct = along_displacement(geometry, by_distance, by_phi, by_harmonics)
            total = direct if total is None else total + direct
        return present(total)


def _virial(pairs: Pairs, gradient: Tensor, batch: Batch) -> Tensor:
    products = pairs.displacement[:, :, None] * gradient[:, None, :]
    return products.new_zeros(batch.num_structures, 3, 3).index_add(0, batch.structure[pairs.first], products)


def _both_directions(pairs: Pairs, displacement: Tensor) -> Edges:
    first, second = pairs.first, pairs.second
    return Edges(torch.cat([first, second]), torch.cat([second, first]), torch.cat([displacement, -displacement]))


class FastSo3krates(TrainableModel):
    """Architecture "so3krates" for training, see `fast_model`."""

    takes_geometry = True
    signs: Tensor
    numbers: Tensor

    def __init__(self, file: ModelFile, lr_cutoff: float | str | None = OF_MODEL) -> None:
        super().__init__(file, lr_cutoff)
        hyper = self.hyper = complete_hyperparameters(file.hyperparameters)
        elements = len(file.elements)
        self.embedding = Embedding(hyper, elements)
        self.radial_basis = RadialBasis(hyper)
        self.layers = nn.ModuleList(FastLayer(hyper) for _ in range(hyper["num_layers"]))
        self.final_norm = None
        if hyper["final_layer_norm"]:
            self.final_norm = nn.ParameterDict({name: torch.zeros(hyper["num_features"]) for name in ("scale", "bias")})
        self.energy = EnergyHead(hyper, elements)
        self.energy.activation = activation(hyper["energy_head"]["activation"])
        self.energy.shift.requires_grad_(False)
        self.charge = ChargeHead(hyper, elements) if hyper["charge_head"] else None
        self.hirshfeld = HirshfeldHead(hyper, elements) if hyper["hirshfeld_head"] else None
        self.zbl = ZblRepulsion(**hyper["zbl"]) if hyper["zbl"] else None
        self.dispersion = Dispersion(elements, hyper["dispersion"]["damping_scale"]) if hyper["dispersion"] else None
        self.register_buffer("signs", signs(hyper["degrees"]), persistent=False)
        self.register_buffer("numbers", torch.tensor(file.elements, dtype=torch.float64), persistent=False)
        #: The network by kernels of the engine.
        self.native = NativeNetwork(list(self._layers()), self.final_norm, self.embedding, self.energy, hyper)
        self.load(file)

    def views(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*self.named_parameters(), *self.named_buffers()):
            if not name.startswith("layers.") and name not in ("numbers", "signs"):
                yield name, value.data
        for t, layer in enumerate(self._layers()):
            for name, value in layer.views():
                yield f"layers.{t}.{name}", value

    def _layers(self) -> Iterable[FastLayer]:
        return cast("Iterable[FastLayer]", self.layers)

    @property
    def energy_shift(self) -> Tensor:
        return self.energy.shift

    def energies(self, batch: Batch, track: bool) -> tuple[Prediction, Leaves]:
        geometry, pairs = present(batch.geometry), batch.pairs
        graph = Graph(batch.species, batch.structure, batch.charge, batch.spin, _NO_EDGES, None)
        basis = self._basis(batch)
        steps = self._steps(batch, basis)
        x = features(steps, self._embed(graph), basis)
        if not x.requires_grad:  # nothing of the network is trained
            x = _leaf(x, track)
        leaves = Leaves(features=x, steps=steps)
        energies = self.energy.dense(x).squeeze(-1) * self.energy.scale.index_select(0, batch.species)
        result = Prediction(graph.sum_structures(energies))
        if self.zbl is not None:
            leaves.displacement, leaves.phi = _leaf(pairs.displacement, track), _leaf(geometry.phi, track)
            repulsion = self.zbl(
                Edges(pairs.first, pairs.second, leaves.displacement),
                leaves.phi,
                self.numbers.to(x.dtype)[batch.species],
            )
            self._add_pairs(result, pairs, repulsion, batch)
        if self.charge is not None:
            result.charges = self.charge(x, graph, lambda *_: None)
        if self.hirshfeld is not None:
            result.hirshfeld_ratios = self.hirshfeld(x, graph)
        if self.has_long_range:
            leaves.long_displacement = _leaf(present(batch.long_pairs).displacement, track)
            self._add_long_range(result, leaves.long_displacement, batch)
        return result, leaves

    @property
    def takes_native_steps(self) -> bool:
        return is_native(self.energy_shift)

    @property
    def threads(self) -> int:
        return (self.native.threads if self.takes_native_steps else None) or super().threads

    def use_threads(self, count: int) -> None:
        # Without long-range terms, what is left to PyTorch is too little to share, and its threads would keep the
        # engine's from their cores while they wait for more.
        super().use_threads(1 if self.takes_native_steps and not self.has_long_range else count)
        self.native.threads = count

    def _steps(self, batch: Batch, basis: Tensor) -> Steps:
        """The layers: by kernels of the engine where there are any, else in operations of PyTorch."""
        geometry, pairs = present(batch.geometry), batch.pairs
        if self.takes_native_steps:
            return NativeSteps(self.native, batch, basis, geometry.phi, geometry.harmonics)
        edges = PairEdges(
            pairs.first, pairs.second, len(batch.species), basis, geometry.phi, geometry.harmonics, self.signs
        )
        return NetworkSteps(self._layers(), self.final_norm, edges, self.hyper)

    def _basis(self, batch: Batch) -> Tensor:
        """The radial basis, then its slope: (2 pairs, K)."""
        geometry = present(batch.geometry)
        if self.hyper["radial_basis"]["type"] != "gaussian":
            return geometry.basis
        distance = geometry.distance  # centres and widths are trained
        return torch.cat(value_and_slope(self.radial_basis, distance))

    def _embed(self, graph: Graph) -> Tensor:
        if self.embedding.charge is None and self.embedding.spin is None:
            return self.embedding.element.index_select(0, graph.species)  # its gradient is quicker than that of [...]
        return self.embedding(graph, lambda *_: None)

    def _add_long_range(self, result: Prediction, displacement: Tensor, batch: Batch) -> None:
        far = present(batch.long_pairs)
        for cutoff, chosen in self.long_parts(batch):
            pairs = Pairs(far.first, far.second, displacement)
            if chosen is not None:
                pairs = Pairs(pairs.first[chosen], pairs.second[chosen], displacement.index_select(0, chosen))
            edges = Edges(pairs.first, pairs.second, pairs.displacement)
            if self.hyper["electrostatics"] is not None:
                pair = electrostatic_energy(
                    edges, present(result.charges), self.hyper["electrostatics"]["sigma"], cutoff
                )
                self._add_pairs(result, pairs, pair, batch)
            if self.dispersion is not None:
                pair = self.dispersion(edges, batch.species, result.hirshfeld_ratios, cutoff, self.lr_damping)
                self._add_pairs(result, pairs, pair, batch)

    @staticmethod
    def _add_pairs(result: Prediction, pairs: Pairs, energy: Tensor, batch: Batch) -> None:
        """Add energies of directed edges, each pair standing for both of its directions."""
        result.energy = result.energy.index_add(0, batch.structure[pairs.first], 2 * energy)


class ReferenceNetwork(TrainableModel):
    """Any network of `so3md.reference`, differentiated as it is. A batch has one long-range cutoff."""

    def __init__(self, file: ModelFile, lr_cutoff: float | str | None = OF_MODEL) -> None:
        super().__init__(file, lr_cutoff)
        self.network = ReferenceModel.from_model_file(file)
        self.network.energy.shift.requires_grad_(False)
        self.load(file)

    def views(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.network.state_dict().items()

    @property
    def energy_shift(self) -> Tensor:
        return self.network.energy.shift

    def energies(self, batch: Batch, track: bool) -> tuple[Prediction, Leaves]:
        displacement, long_edges = _leaf(batch.pairs.displacement, track), None
        leaves = Leaves(displacement=displacement)
        if self.has_long_range:
            far = present(batch.long_pairs)
            leaves.long_displacement = _leaf(far.displacement, track)
            long_edges = _both_directions(far, leaves.long_displacement)
        short_edges = _both_directions(batch.pairs, displacement)
        graph = Graph(batch.species, batch.structure, batch.charge, batch.spin, short_edges, long_edges)
        parts = list(self.long_parts(batch)) if self.has_long_range else [(None, None)]
        if len(parts) > 1:
            raise ValueError("expected a batch with one long-range cutoff, found structures with two")
        out = self.network(graph, parts[0][0], self.lr_damping)
        return Prediction(
            out["energy"], charges=out.get("charges"), hirshfeld_ratios=out.get("hirshfeld_ratios")
        ), leaves


def make_model(file: ModelFile, lr_cutoff: float | str | None = OF_MODEL) -> TrainableModel:
    """The quickest form of a model for training, in the precision of `double`; `.to` changes it.

    lr_cutoff (A): of long-range terms in all structures; OF_MODEL: what the file says.
    """
    quick = file.architecture == SO3KRATES and not second_generation(file.hyperparameters)
    kind = FastSo3krates if quick else ReferenceNetwork
    model = kind(file, lr_cutoff).double()
    model.load(file)  # again, as modules are made in single precision
    return model


def _leaf(value: Tensor, track: bool) -> Tensor:
    return value.detach().requires_grad_(track)
