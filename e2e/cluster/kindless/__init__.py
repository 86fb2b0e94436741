"""Real Kubernetes clusters with kind's commands, on a machine without Docker."""

from importlib.metadata import version

__version__ = version("kindless")
