"""What is needed next, made in the background."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes things by their number, below `end`; while one is in use, the next one is made by another thread, if that
    is wanted."""

    def __init__(self, make: Callable[[int], T], end: int, wanted: bool) -> None:
        self._make, self._end = make, end
        self._thread = ThreadPoolExecutor(1, "next batch") if wanted else None
        self._next: tuple[int, Future[T]] | None = None

    def take(self, number: int) -> T:
        """The thing of this number; what `make` raises for it is raised here."""
        if self._thread is None:
            return self._make(number)
        if self._next is None or self._next[0] != number:
            self._next = number, self._thread.submit(self._make, number)
        future = self._next[1]
        result = future.result()
        following = number + 1
        self._next = (following, self._thread.submit(self._make, following)) if following < self._end else None
        return result
