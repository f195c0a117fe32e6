"""Whether every copy of a model says the same: one table over engines and precisions."""
