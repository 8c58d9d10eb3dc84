"""The entry of ASE's plugins: `ase info --plugins` lists the calculator, and `ase._4.plugins.plugins` has it by name.

ASE 3.29 has this interface, under a name that is not public yet; where it is not, there is nothing to enter.
"""

from __future__ import annotations

from typing import Any

try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:
    __ase_plugins__: set[Any] = set()
else:
    __ase_plugins__ = {
        CalculatorPlugin(
            "so3krates",
            citation="doi:10.1021/jacs.5c09558",
            implementation="so3md.calculator.So3kratesCalculator",
        )
    }
