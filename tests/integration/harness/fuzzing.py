"""Requests that schemathesis makes up from the OpenAPI document, and judges the answers to."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from harness.process import Operator

_PROGRAM = Path(sys.executable).with_name("schemathesis")


async def fuzz(operator: Operator, *, token: str = "") -> None:
    """Ask everything but the two event streams, which have no end; fails with what is found."""
    arguments = [
        "run", f"{operator.url}/api/openapi.json",
        "--exclude-path=/api/live", "--exclude-path=/api/queue-stats/sse",
        "--phases=examples,coverage,fuzzing", "--max-examples=50", "--generation-deterministic",
        # What a spec may hold is told by the CRD, whose rules no schema can express.
        "--exclude-checks=positive_data_acceptance",
        "--warnings=off", "--no-color",
    ]  # fmt: skip
    if token:
        arguments += ["--header", f"Authorization: Bearer {token}"]
    with tempfile.TemporaryDirectory() as folder:  # it keeps what it tried where it runs
        process = await asyncio.create_subprocess_exec(
            _PROGRAM, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"PYTHONWARNINGS": "ignore"}, cwd=folder,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
    assert "Tested: 6" in said.decode(), said.decode()
