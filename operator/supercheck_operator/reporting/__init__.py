"""What is told: status patches, metrics, queue figures."""
