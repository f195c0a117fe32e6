"""Any model folder on any manifest: error rates with a signature, and a page that shows every utterance; several side by side."""
