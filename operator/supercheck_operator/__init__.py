"""supercheck-operator: which test executions run now, which wait, and which are refused.

The way of an execution is the way through this package:
admission → queueing → execution → controller → reporting; ``ledger`` counts who holds what.
"""

from importlib.metadata import version

__version__ = version("supercheck-operator")
