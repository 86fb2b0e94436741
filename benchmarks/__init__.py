"""How fast, and at what cost: ``python -m benchmarks.NAME``, from the folder above."""

import sys
from pathlib import Path

# The harness of the integration tests drives clusters and operators here, too.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))
