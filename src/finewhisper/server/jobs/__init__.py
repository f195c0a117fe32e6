"""Jobs: recordings that are handed in now and asked for later, and that no restart loses."""
