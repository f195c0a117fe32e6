"""finewhisper: adapt Whisper to your own speech and put it everywhere you need it.

The stages of the pipeline are the verbs of the command line and the modules of this package, in order:
``download``, ``prepare``, ``finetune``, ``merge``, ``evaluate``, ``convert``, ``transcribe``. Each has a frozen configuration
class and a function ``run(config)`` that returns a value. Importing this package imports none of them.
"""

__version__ = "0.1.0"
