"""Structures as pair lists, found once; batches that put some of them side by side, without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from so3md.reference.graph import nearest_images, neighbours
from so3md.training.geometry import Geometry, make_geometry
from so3md.training.on_demand import OnDemand, atoms_in, sizes_of
from so3md.training.sample import Sample


@dataclass
class Pairs:
    """Unordered pairs of atoms within a cutoff: indices (pairs) and displacement r_second - r_first with images, A."""

    first: Tensor
    second: Tensor
    displacement: Tensor

    def __len__(self) -> int:
        return len(self.first)


@dataclass
class Targets:
    """Reference values, NaN where there are none: energy (structures) less the reference energies of the atoms, forces
    (n, 3), stress (structures, 3, 3), dipole (structures, 3), hirshfeld_ratios (n). Units eV, A, e."""

    energy: Tensor
    forces: Tensor
    stress: Tensor
    dipole: Tensor
    hirshfeld_ratios: Tensor


@dataclass
class Batch:
    """Structures side by side.

    structure (n): which one an atom belongs to; counts, volume, charge, spin, periodic (structures), the last saying
    whether there is a periodic direction.
    """

    species: Tensor
    structure: Tensor
    counts: Tensor
    positions: Tensor
    volume: Tensor
    charge: Tensor
    spin: Tensor
    periodic: Tensor
    pairs: Pairs
    long_pairs: Pairs | None
    geometry: Geometry | None
    targets: Targets

    @property
    def num_structures(self) -> int:
        return len(self.counts)

    def sum_structures(self, values: Tensor) -> Tensor:
        """Sum of values of atoms (n, ...) in each structure."""
        return values.new_zeros(self.num_structures, *values.shape[1:]).index_add(0, self.structure, values)


class Cutoffs(NamedTuple):
    """Cutoffs (A) of long-range terms: in structures with a periodic direction, and in those without; None: none."""

    periodic: float | None
    molecules: float | None

    def of(self, periodic: bool) -> float | None:
        return self.periodic if periodic else self.molecules


NO_CUTOFFS = Cutoffs(None, None)


@dataclass
class Item:
    """One structure of a data set, ready to go into a batch."""

    sample: Sample
    batch: Batch


def make_items(
    samples: Sequence[Sample],
    elements: Sequence[int],
    baseline: np.ndarray,
    cutoff: float,
    lr_cutoffs: Cutoffs = NO_CUTOFFS,
    long_range: bool = False,
    all_pairs: bool = False,
) -> list[Item]:
    """The structures with their pair lists. baseline: energy of each element (eV) that the targets come without.

    cutoff (A) is that of the network, lr_cutoffs those of long-range terms (None: all pairs), where there are any;
    all_pairs: the network sees every pair, those beyond its cutoff too.
    Raises ValueError, naming the structure, for an element that the model does not have.
    """
    items = []
    for sample in samples:
        item = sample.structure
        periodic = bool(item.pbc.any())
        lr_cutoff = lr_cutoffs.of(periodic)
        unknown = sorted(set(item.numbers.tolist()) - set(elements))
        if unknown:
            raise ValueError(f"{sample.origin}: the model has the elements {list(elements)}, not {unknown}")
        species = np.searchsorted(np.asarray(elements), item.numbers)
        items.append(
            Item(
                sample,
                Batch(
                    species=torch.from_numpy(species),
                    structure=torch.zeros(len(species), dtype=torch.long),
                    counts=torch.tensor([len(species)]),
                    positions=torch.from_numpy(item.positions),
                    volume=torch.tensor([abs(np.linalg.det(item.cell))]),
                    charge=torch.tensor([item.charge], dtype=torch.float64),
                    spin=torch.tensor([item.spin], dtype=torch.float64),
                    periodic=torch.tensor([periodic]),
                    pairs=_half(*(nearest_images if all_pairs else neighbours)(item, cutoff), item.positions),
                    long_pairs=_half(*neighbours(item, lr_cutoff), item.positions) if long_range else None,
                    geometry=None,
                    targets=_targets(sample, baseline[species].sum()),
                ),
            )
        )
    return items


class LazyItems(OnDemand[Item]):
    """Samples that get their pair lists when they are asked for, by the engine; `sizes`: as of `Samples`."""

    def __init__(self, samples: Sequence[Sample], make: Callable[[Sequence[Sample]], list[Item]]) -> None:
        self._samples, self._make = samples, make
        self.sizes = sizes_of(samples, atoms_in)

    def __len__(self) -> int:
        return len(self.sizes)

    def _one(self, place: int) -> Item:
        return self._make([self._samples[place]])[0]

    def _some(self, places: np.ndarray) -> list[Item]:
        return self._make([self._samples[place] for place in places])


def join(items: Sequence[Item], hyper: dict[str, Any] | None, device: torch.device, dtype: torch.dtype) -> Batch:
    """One batch of several structures on a device, in the precision of the training.

    hyper: hyperparameters for a network that takes a `Geometry`, None for one that does not.
    """
    parts = [item.batch for item in items]
    counts = torch.cat([part.counts for part in parts])
    starts = torch.cumsum(counts, 0) - counts

    def joined(get: Any) -> Tensor:
        return torch.cat([get(part) for part in parts])

    def joined_pairs(own: Sequence[Pairs]) -> Pairs:
        shift = torch.repeat_interleave(starts, torch.tensor([len(pairs) for pairs in own]))
        first, second = (torch.cat([getattr(pairs, key) for pairs in own]) + shift for key in ("first", "second"))
        return Pairs(first.to(device), second.to(device), torch.cat([pairs.displacement for pairs in own]))

    pairs = joined_pairs([part.pairs for part in parts])
    all_long = [part.long_pairs for part in parts if part.long_pairs is not None]
    long_pairs = joined_pairs(all_long) if all_long else None
    geometry = None if hyper is None else make_geometry(pairs.displacement, hyper, dtype).to(device)
    for some in (pairs, long_pairs):
        if some is not None:
            some.displacement = some.displacement.to(device, dtype)
    return Batch(
        species=joined(lambda part: part.species).to(device),
        structure=torch.repeat_interleave(counts).to(device),
        counts=counts.to(device),
        positions=joined(lambda part: part.positions).to(device, dtype),
        volume=joined(lambda part: part.volume).to(device, dtype),
        charge=joined(lambda part: part.charge).to(device, dtype),
        spin=joined(lambda part: part.spin).to(device, dtype),
        periodic=joined(lambda part: part.periodic).to(device),
        pairs=pairs,
        long_pairs=long_pairs,
        geometry=geometry,
        targets=Targets(
            *(
                joined(lambda part, key=field.name: getattr(part.targets, key)).to(device, dtype)
                for field in fields(Targets)
            )
        ),
    )


def _half(first: np.ndarray, second: np.ndarray, offset: np.ndarray, positions: np.ndarray) -> Pairs:
    """Every pair of a list of directed ones once; of an atom and its own image, the one with the positive offset."""
    leading = np.zeros(len(first))
    for axis in (2, 1, 0):  # the sign of the first component that is not zero
        leading = np.where(offset[:, axis] != 0, np.sign(offset[:, axis]), leading)
    keep = (first < second) | ((first == second) & (leading > 0))
    first, second, offset = first[keep], second[keep], offset[keep]
    displacement = positions[second] - positions[first] + offset
    return Pairs(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(displacement))


def _targets(sample: Sample, baseline: float) -> Targets:
    def tensor(value: Any, *shape: int) -> Tensor:
        array = np.full(shape, np.nan) if value is None else np.asarray(value, dtype=float).reshape(shape)
        return torch.from_numpy(array)

    atoms = len(sample.structure.numbers)
    return Targets(
        energy=tensor(None if sample.energy is None else sample.energy - baseline, 1),
        forces=tensor(sample.forces, atoms, 3),
        stress=tensor(sample.stress, 1, 3, 3),
        dipole=tensor(sample.dipole, 1, 3),
        hirshfeld_ratios=tensor(sample.hirshfeld_ratios, atoms),
    )
