"""The machine that a benchmark ran on, and the limit of SO3LR in water on it."""

from __future__ import annotations

from so3md.benchmark.machine import describe_machine, matrix_product_gflops

__all__ = ["MFLOP_PER_ATOM", "describe_machine", "limit_us_per_atom", "matrix_product_gflops"]

#: Floating-point operations of SO3LR per atom and step in liquid water, as docs/performance.md sums them up. The count
#: of `so3md.benchmark.work`, which `so3md bench` uses, is somewhat higher: this is the stricter limit.
MFLOP_PER_ATOM = 3.4


def limit_us_per_atom(gflops: float) -> float:
    """Time per atom and step if all operations ran at the rate of a large matrix product."""
    return MFLOP_PER_ATOM * 1e3 / gflops
