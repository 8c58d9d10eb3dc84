"""Figures of benchmarks in the pages are made from the committed results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, at work on copies of pages and results."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import figures as module
    from page_figures import common

    results = tmp_path / "results"
    shutil.copytree(ROOT / "benchmarks" / "results", results)
    pages = tuple(tmp_path / page.relative_to(ROOT) for page in module.PAGES)
    for page in pages:
        page.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page.relative_to(tmp_path), page)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(common, "RESULTS", results)
    monkeypatch.setattr(module, "PAGES", pages)
    return module


def test_pages_have_the_figures_of_the_committed_results(figures: ModuleType) -> None:
    assert figures.main(["--check"]) == 0


def test_another_result_is_noticed_and_written(figures: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    file = figures.PAGES[0].parent / "results" / "compare_so3krates_torch.json"
    report = json.loads(file.read_text())
    report["ratios"][0]["times_faster"] = 123.4
    file.write_text(json.dumps(report))
    assert figures.main(["--check"]) == 1
    assert "README.md" in capsys.readouterr().err
    assert figures.main([]) == 0
    assert "**123.4**" in figures.PAGES[0].read_text(encoding="utf-8")
    assert figures.main(["--check"]) == 0


def test_a_block_that_nobody_knows_is_an_error(figures: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no figures named 'nothing'"):
        figures.with_figures("<!-- figures: nothing -->\n<!-- figures: end -->")
