"""Stage 2: a manifest and a base model become an adapter, or a full model, that knows the speech of the manifest."""
