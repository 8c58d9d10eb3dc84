"""How a child process of a benchmark answers: requests and answers are lines of JSON on its standard input and output.

Runs under the Python of a peer, too: only the standard library is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def serve(make_worker: Callable[[], Any]) -> None:
    """Make a worker and call its methods, `{"method": name, **arguments}`, until the input ends."""
    # Backends print; keep the pipe to ourselves and send what they say to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = make_worker()
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("method"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
