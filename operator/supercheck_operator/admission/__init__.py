"""Admitting or refusing a new TestExecution, before it exists."""
