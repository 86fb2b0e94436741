"""What one execution is made of: manifests to create, and what Jobs and pods tell about it."""
