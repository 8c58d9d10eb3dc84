"""What was found out about one thing that so3md uses."""

from __future__ import annotations

from dataclasses import dataclass

OK, OFF, DOUBT, BROKEN = "ok", "off", "doubt", "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    state: "ok"; "off", something optional that is not there; "doubt", it works, but hardly as it was meant; "broken",
    something that so3md needs, or that is there and does not work as it should. needed: without it nothing works.
    """

    topic: str
    state: str
    text: str
    advice: str = ""
    needed: bool = False

    @property
    def fails(self) -> bool:
        """Whether so3md cannot do its work for it."""
        return self.needed and self.state == BROKEN
