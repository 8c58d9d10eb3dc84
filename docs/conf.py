"""Sphinx turns the Markdown files of this folder into web pages: sphinx-build docs build/docs."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "so3md"
author = "The so3md developers"
copyright = author
release = installed_version("so3md")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
