"""The file that i-PI loads, see `so3md.ipi`."""

from so3md.ipi import Driver

__all__ = ["Driver"]

__DRIVER_NAME__ = "so3krates"
__DRIVER_CLASS__ = "Driver"
