"""``finewhisper prepare``: a corpus becomes train, dev and test manifests.

One file is one corpus: its docstring says what it is, where it comes from and under which licence; its function ``fetch`` downloads
or extracts it, its function ``read`` lists its clips. ``run.py`` does what all have in common.
"""
