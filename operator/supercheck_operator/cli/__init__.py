"""``kubectl supercheck``: what people and pipelines do from a command line."""
