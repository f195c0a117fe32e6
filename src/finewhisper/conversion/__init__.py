"""Rewrite a model for another engine: one file for each format, and one that proves the copy equal to its source."""
