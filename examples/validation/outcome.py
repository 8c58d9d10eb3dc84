"""Where the results of the examples stand, and how they are written."""

from __future__ import annotations

import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_result(file: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, with the date and the versions that it was made with; an existing file is replaced."""
    about = {
        "date": datetime.date.today().isoformat(),
        "versions": {name: version(name) for name in ("so3md", "ase")},
        "model": "so3lr",
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(about | record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {file}")
