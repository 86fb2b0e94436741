"""Events mark a queue dirty; one level-based reconcile per queue decides and acts."""
