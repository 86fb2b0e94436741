"""What the benchmarks have in common: a control plane, what things cost on it, tables."""
