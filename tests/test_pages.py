"""The pages: a README that is quickly read, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(
    page
    for folder, pattern in ((ROOT, "*.md"), (ROOT / "docs", "**/*.md"), (ROOT / "benchmarks", "**/*.md"))
    for page in folder.glob(pattern)
)
MOST_WORDS = 900
MOST_COLUMNS = 100  # of a table
#: Pages whose tables are narrow. What needs more words in a cell is a list.
NARROW = (
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "benchmarks" / "README.md"),
    *sorted((ROOT / "docs").glob("**/*.md")),
)

_CODE_BLOCK = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?\1")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<target>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)#*$", re.MULTILINE)


def text_of(page: Path) -> str:
    """The page without its blocks of code."""
    return _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(text_of(page)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        twice = anchor in anchors
        anchors.add(f"{anchor}-1" if twice else anchor)
    return anchors


def faults_of(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    faults = []
    for match in _LINK.finditer(_CODE.sub(lambda code: re.sub(r"[\[\]()]", "", code[0]), text_of(page))):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            faults.append(f"{target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors_of(file):
            faults.append(f"{target}: no such heading")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert faults_of(page) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n[a](#one-two-three) [b](#four) [c](other.md) [d](https://x.org/y)\n`[e](f)`")
    assert faults_of(page) == ["#four: no such heading", "other.md: no such file"]


def test_the_readme_is_short() -> None:
    """Counted as wc -w does, code and tables included."""
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS


def wide_rows(page: Path) -> list[str]:
    rows = [line for line in text_of(page).splitlines() if line.lstrip().startswith("|")]
    return [row for row in rows if len(row) > MOST_COLUMNS]


@pytest.mark.parametrize("page", NARROW, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_narrow(page: Path) -> None:
    assert wide_rows(page) == []


def test_wide_rows_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    narrow, wide = f"| {'a' * 96} |", f"  | {'b' * 95} |"
    page.write_text(f"| c |\n|---|\n{narrow}\n{wide}\n```\n{wide}\n```\n{'d' * 120}")
    assert wide_rows(page) == [wide]


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / match["target"].partition("#")[0]).resolve() for match in _LINK.finditer(text_of(index))}
    assert {page for page in PAGES if (ROOT / "docs") in page.parents} - {index} <= linked
