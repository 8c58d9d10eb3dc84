"""What evaluates a model: the processor, or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from so3md.parallel import Team

DEVICES = ("cpu", "cuda")


def checked_device(name: str) -> str:
    """The name of a device: "cpu", "cuda", or "cuda:1" for GPU number 1. Raises ValueError for another.

    "cuda-emulation" stands for the kernels of the GPU, run by the processor: for tests of so3md, and very slow.
    """
    from so3md import _engine

    try:
        _engine.device_name(name)
    except (TypeError, ValueError):
        raise ValueError(
            f"device: expected one of {', '.join(DEVICES)}, or cuda:N for GPU number N, counted from 0, found {name!r}"
        ) from None
    return name


def device_of_rank(name: str, team: Team) -> str:
    """The device of this process: ranks of a machine take its GPUs in turn, where none was chosen by number."""
    if name == "cpu" or ":" in name or team.size == 1:
        return name
    from so3md import _engine

    return f"{name}:{team.number_on_node() % _engine.count_devices(name)}"
