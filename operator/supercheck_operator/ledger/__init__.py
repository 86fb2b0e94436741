"""Who occupies capacity. The webhook reserves, the controller holds and releases."""
