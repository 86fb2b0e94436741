"""Progress, on stderr, since stdout is for what was asked for."""

import sys


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
