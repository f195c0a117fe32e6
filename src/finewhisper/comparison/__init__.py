"""Several models on several manifests, as one table."""
