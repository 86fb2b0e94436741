"""The line: who waits, in which order, and who may start next."""
