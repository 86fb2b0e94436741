"""What people and pipelines reach over HTTP: health, metrics, queue figures."""
