"""Programs that users bring themselves: tests that need one are skipped where it is absent, with the reason."""

from __future__ import annotations

import importlib.util

import pytest


def needs(*modules: str, install: str | None = None) -> pytest.MarkDecorator:
    """Skip unless all of these modules can be imported; install: names of their packages, if others."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    packages = install or " ".join(modules)
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed (pip install {packages})")
