"""What the integration tests stand on: a real API server, a real process, an observer of its own.

Nothing here imports the operator's code: what is asserted is seen from outside.
"""
