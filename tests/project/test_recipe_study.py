"""What the study of a recipe prints: each configuration once, and rank correlations that are those of the numbers."""

from __future__ import annotations

from pathlib import Path

from made_up import result, write

from benchmarks import recipe


def runs(folder: Path) -> Path:
    """Two configurations with two seeds; the nearer a student is to its teacher, the better it is."""
    for name, better in (("mini", 0.0), ("mini+LR=0.0005", 8.0)):
        for seed in (1, 2):
            kl = 0.4 - better / 100 - seed / 1000
            record = result("PromptKD", "Emoji", seed, 50 + better + seed, 40 + better + seed)
            record |= {"epochs": 30, "train_images": 624, "train_seconds": 9.0, "split": "val"}
            record["config_hash"] = f"{name} {seed}"
            record["seen"] = {"images": 624, "held_out": {"images": 69, "kl": kl, "agreement": 60 + better + seed}}
            write(folder / f"base2new/emoji/{name}/seed{seed}", record)
    return folder


def test_configurations_and_rank_correlations(tmp_path: Path, capsys):
    folder = runs(tmp_path / "val")
    assert recipe.main(["tried", str(folder)]) == 0
    shown = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in shown.splitlines() if line.startswith("| Emoji")]
    assert [row[1].strip() for row in rows] == ["mini+LR=0.0005", "mini"], "the nearest to its teacher first"
    assert float(rows[0][7]) == 30 * 624 and "2 configurations, 4 runs" in shown
    assert recipe.main(["rank", str(folder)]) == 0
    assert capsys.readouterr().out.count("+1.00") == 2
    for path in folder.rglob("results.json"):  # on test images the order is the other way round
        seed, better = int(path.parent.name[-1]), "LR" in str(path)
        base = 60 - 8 * better - seed
        write(tmp_path / "test" / path.parent.relative_to(folder), result("PromptKD", "Emoji", seed, base, base))
    assert recipe.main(["rank", str(folder), "--test", str(tmp_path / "test")]) == 0
    assert capsys.readouterr().out.count("-1.00") == 3
