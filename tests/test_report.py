"""The page of tools.collect --html: whole, safe, without a network; in Chromium it sorts and filters quietly."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up import result, write
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from tools import collect
from tools.report import charts
from tools.report.details import MATRIX, thumbnail
from trainers.predictions import COLUMNS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = '<img src="http://example.org/x">&"'


class Page(HTMLParser):
    """Collects tags and attributes, and checks that what opens closes."""

    VOID = {"meta", "link", "input", "img", "line", "rect"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.found if name == tag and attributes.items() <= a.items()]


def predictions(folder: Path, lines: list[tuple[str, str, str, str, float]]) -> None:
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for path, group, label, said, p in lines:
            writer.writerow([path, group, label, said, said, p, *[""] * (len(COLUMNS) - 6)])


@pytest.fixture
def output(tmp_path):
    """Three methods on two data sets; one run with predictions, images and curves."""
    root = tmp_path / "output"
    for seed in (1, 2):
        write(root / f"src{seed}", result("PromptSRC", "EuroSAT", seed, 80.0 + seed, 60.0))
        write(root / f"kd{seed}", result("PromptKD", "EuroSAT", seed, 90.0, 70.0))
        write(root / f"few{seed}", result("CoOp", "DTD", seed, accuracy=50.0 + seed, shots=seed))
    write(root / "broken", "{<script>")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGBA", (30, 20), (255, 0, 0, 128)).save(images / "red.png")
    metrics = result("MaPLe", base=50.0, new=100.0)["metrics"]
    metrics["base"]["per_class"] = {"cat": 0.0, EVIL: 100.0}
    entries = {"metrics": metrics, "data_root": str(images), "settings": {"OPTIM.LR": 0.1, "INPUT.SIZE": [64, 64]}}
    full = write(root / "full", result("MaPLe", "EuroSAT", 1, **entries)).parent
    lines = [
        ("red.png", "base", "cat", EVIL, 0.9),
        ("gone.png", "base", "cat", EVIL, 0.8),
        ("x", "new", "dog", "dog", 1.0),
    ]
    predictions(full, lines)
    with SummaryWriter(str(full / "tensorboard")) as writer:
        for step in range(30):
            writer.add_scalar("train/loss", 1 / (step + 1), step)
    return root


def made(output: Path, *words: str) -> str:
    path = output.parent / "pages" / "report.html"
    assert collect.main([str(output), "--html", str(path), *words]) == 0
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_asks_nothing_of_a_network(output):
    text = made(output)
    page = Page(text)
    assert page.open == []
    links = [value for _, attrs in page.found for key, value in attrs.items() if key in ("src", "href")]
    assert links and all(link.startswith("data:") for link in links)
    assert "url(" not in text and "@import" not in text
    (policy,) = page.of("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")
    assert page.of("meta", name="viewport") and "prefers-color-scheme: dark" in text and "@media print" in text


def test_names_are_text_wherever_they_come_from(output):
    text = made(output)
    assert EVIL not in text and "<script>" in text and text.count("<script>") == 1
    assert "&lt;img src=&quot;http://example.org/x&quot;&gt;&amp;" in text


def test_a_run_shows_classes_confusion_errors_curves_and_configuration(output):
    text = made(output)
    run = next(part for part in text.split('<details class="run"')[1:] if "<b>MaPLe" in part)
    assert run.index(">cat<") < run.index("&lt;img")  # the worst class first
    assert "Confusion, base" in run and "Confusion, new" in run and 'title="dog taken for dog: 1"' in run
    assert "The most confident of 2 errors" in run and run.count("data:image/jpeg") == 1 and "image not here" in run
    assert "train/loss" in run and "<polyline" in run
    assert "train.py --seed 1" in run and "OPTIM.LR" in run and "[64, 64]" in run and "2.15.0" in run
    assert "no confusion matrix" in text  # the others have no predictions.csv


def test_gallery_can_be_left_out(output):
    assert "data:image/jpeg" not in made(output, "--gallery", "0")


def test_left_out_files_are_on_the_page(output):
    assert "broken/results.json: broken" in made(output)


def test_filtered_runs_are_the_page(output):
    text = made(output, "--where", "trainer=PromptKD")
    assert text.count('<details class="run"') == 2 and "MaPLe" not in text


@pytest.mark.parametrize("content", ["", "path,group\nx", "\x00", ",".join(COLUMNS) + "\nx,base\n"])
def test_broken_predictions_are_said_and_stop_nothing(output, content):
    (output / "full" / "predictions.csv").write_text(content, encoding="utf-8")
    text = made(output)
    assert "predictions.csv is broken" in text or "Confusion" not in text


def test_many_classes_give_the_most_confused_pairs(output):
    lines = [(f"{i}.png", "base", f"c{i}", f"c{i // 2}", 0.5) for i in range(MATRIX + 5)]
    predictions(output / "full", lines)
    text = made(output)
    assert "Most confused, base" in text and 'class="matrix"' not in text


def test_page_cannot_be_written(output, capsys):
    (output.parent / "file").touch()
    assert collect.main([str(output), "--html", str(output.parent / "file" / "report.html")]) == 1
    assert "cannot write --html" in capsys.readouterr().err


def test_paper_rows_join_the_row_they_belong_to(tmp_path):
    write(tmp_path / "o" / "a", result("PromptSRC", "EuroSAT", accuracy=80.0, shots=4))
    text = made(tmp_path / "o")
    assert re.search(r"80\.00<small>paper 86\.30\?</small><small>difference -6\.30\?</small></td>", text)


def test_thumbnails(tmp_path):
    Image.new("RGB", (400, 100)).save(tmp_path / "wide.jpg")
    (tmp_path / "text.png").write_text("no image")
    assert thumbnail(tmp_path / "wide.jpg").startswith("data:image/jpeg;base64,")
    assert thumbnail(tmp_path / "text.png") == thumbnail(tmp_path / "gone.png") == ""


def test_bars_are_as_long_as_their_numbers():
    drawn = charts.bars([("m", [charts.Bar("base", 50.0), charts.Bar("new", 100.0, 2.0, 40.0)])], "label")
    first, second = (float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawn))
    assert second == pytest.approx(2 * first, abs=0.1)
    assert drawn.count('class="paper"') == 1 and drawn.count('class="whisker"') == 1


def test_lines_survive_single_points_and_values_that_are_not_finite():
    assert charts.lines([], "nothing") == ""
    assert charts.lines([charts.Line("a", [(0.0, float("nan"), None)])], "nothing") == ""
    drawn = charts.lines([charts.Line("a", [(0.0, 5.0, None), (1.0, float("inf"), None)])], "one")
    assert drawn.count("<circle") == 1 and "nan" not in drawn and "inf" not in drawn


def test_ticks_span_the_values_with_round_numbers():
    assert charts._ticks(0.13, 0.88, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts._ticks(61.0, 61.0, 5)[0] <= 61.0 <= charts._ticks(61.0, 61.0, 5)[-1]


# What a reader does, run inside the page; leaves what was seen in the body.
VISIT = """<script>
const seen = {};
seen.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
const table = document.querySelector("table.sort");
const column = (n) => [...table.tBodies[0].rows].map((row) => row.cells[n].textContent);
const base = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "base");
const click = (n) => table.tHead.rows[0].cells[n].firstChild.click();
click(base); seen.down = column(base); click(base); seen.up = column(base); seen.sort =
  table.tHead.rows[0].cells[base].getAttribute("aria-sort");
click(0); seen.names = column(0);
const field = document.getElementById("filter");
const filter = (text) => { field.value = text; field.dispatchEvent(new Event("input")); };
const runs = () => [...document.querySelectorAll(".run")].filter((run) => run.checkVisibility()).length;
seen.all = runs(); filter("PROMPTKD eurosat"); seen.filtered = runs();
seen.told = document.getElementById("found").textContent;
seen.tables = [...document.querySelectorAll("section.block")].filter((block) => block.checkVisibility()).length;
filter("no such run"); seen.none = runs(); filter(""); seen.again = runs();
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
fetch("http://127.0.0.1:9/").then(() => { seen.fetched = true; }, () => { seen.fetched = false; }).then(() => {
  document.body.innerHTML = ""; document.body.append(JSON.stringify(seen)); });
</script>"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_in_chromium(output, tmp_path, size):
    quiet, visited = tmp_path / "quiet.html", tmp_path / "visited.html"
    text = made(output)
    quiet.write_text(text, encoding="utf-8")
    visited.write_text(text.replace("</body>", VISIT + "</body>"), encoding="utf-8")

    def dump(path: Path) -> subprocess.CompletedProcess[str]:
        words = [
            *(
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-sync",
            ),
            *(
                "--disable-background-networking",
                "--disable-component-update",
                f"--user-data-dir={tmp_path / path.stem}",
            ),
            *(
                "--enable-logging=stderr",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--window-size={size}",
                "--virtual-time-budget=5000",
            ),
            *("--dump-dom", path.as_uri()),
        ]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)

    loaded = dump(quiet)
    assert "<h1>Results</h1>" in loaded.stdout and "CONSOLE" not in loaded.stderr
    found = re.search(r"<body>(\{.*\})", dump(visited).stdout)
    seen = json.loads(found[1])
    numbers = [float(cell.split()[0]) for cell in seen["down"] if cell != "missing"]
    assert numbers == sorted(numbers, reverse=True) and numbers[0] > numbers[-1]
    assert seen["up"] == seen["down"][::-1] and seen["sort"] == "ascending"
    assert seen["names"] == sorted(seen["names"], key=str.lower)
    assert [
        name for name in seen["requests"] if not name.startswith("data:")
    ] == []  # what the policy blocks would also be a line on the console
    assert (seen["all"], seen["filtered"], seen["none"], seen["again"]) == (7, 2, 0, 7)
    assert seen["told"] == "2 runs match" and seen["tables"] == 2  # its table and its chart
    assert seen["wide"] <= 0 and seen["fetched"] is False  # wide tables scroll by themselves; the page loads nothing
