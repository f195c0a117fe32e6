"""Which attention heads of a model tell when a word is spoken."""
