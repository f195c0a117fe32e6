"""The adapter of random numbers is merged into its base, and both tables say what was measured."""

from __future__ import annotations

from pathlib import Path

import memory


def test_an_adapter_of_random_numbers_is_merged(random_model: Path, tmp_path: Path) -> None:
    adapter = memory.adapter_folder(random_model, tmp_path / "adapter")
    found = memory.merge_part(random_model, adapter, tmp_path / "merged")
    assert found["matrices"] == 4 * (2 + 2 * 2)  # of each attention: two layers have one, two have two
    assert found["measured"] > 1e7


def test_the_tables_compare() -> None:
    run = {"model": "base", "method": "lora", "precision": "float32", "clips": 4, "seconds": 10.0, "expected": 9e8, "measured": 1e9}
    text = memory.table([run], [{"model": "turbo", "matrices": 160, "measured": 7.3e8}])
    assert "| base | lora | float32 | 4 × 10 s | 0.90 GB | 1.00 GB | 0.90 |" in text
    assert "| turbo, one adapter of rank 32 | 160 | 0.73 GB |" in text
