"""``python -m finewhisper`` is the same command as ``finewhisper``."""

from finewhisper.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
