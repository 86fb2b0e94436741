"""The files of the live page: plain HTML, CSS and JavaScript modules, as they are served."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("page")


@cache
def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
