"""The page of tools/collect.py --html: whole, safe, without a network; in Chromium it sorts and filters quietly."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from made_up import benchmark, result, write
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from promptkd import pages
from promptkd.pages import charts
from promptkd.pages.pictures import thumbnail
from promptkd.results.predictions import COLUMNS
from promptkd.tables import command as collect
from promptkd.tables.report.details import MATRIX

EVIL = '<img src="http://example.org/x">&"'


class Page(HTMLParser):
    """Collects tags and attributes, and checks that what opens closes."""

    VOID = {"meta", "link", "input", "img", "line", "rect", "wbr"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.elements if name == tag and attributes.items() <= a.items()]


def predictions(folder: Path, lines: list[tuple[str, str, str, str, float]]) -> None:
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for path, group, label, predicted, p in lines:
            writer.writerow([path, group, label, predicted, predicted, p, *[""] * (len(COLUMNS) - 6)])


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
    links = [value for _, attrs in page.elements for key, value in attrs.items() if key in ("src", "href")]
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


def test_images_without_a_label_are_no_errors(output):
    lines = [("a.png", "base", "cat", "dog", 0.6), ("b.png", "base", "dog", "dog", 0.7)]
    predictions(output / "full", [*lines, *((f"{i}.png", "base", "", "cat", 0.99) for i in range(5))])
    run = next(part for part in made(output).split('<details class="run"')[1:] if "<b>MaPLe" in part)
    assert "The most confident of 1 errors" in run and run.count("<figure title=") == 1
    assert 'title="cat taken for dog: 1"' in run and 'title=" taken for' not in run and "<tr><th></th>" not in run


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
    assert re.search(r"80\.00<small>paper 86\.30\?</small><small>diff -6\.30\?</small></td>", text)


def test_thumbnails(tmp_path):
    Image.new("RGB", (400, 100)).save(tmp_path / "wide.jpg")
    (tmp_path / "text.png").write_text("no image")
    assert thumbnail(str(tmp_path), "wide.jpg").startswith("data:image/jpeg;base64,")
    assert thumbnail(str(tmp_path), "text.png") == thumbnail(str(tmp_path), "gone.png") == ""


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


def test_a_curve_shows_what_a_paper_says_and_stays_below_100_percent():
    line = charts.Line("a", [(0.0, 92.0, 1.0), (1.0, 99.5, 3.0)], [(1.0, 86.0)])
    drawn = charts.lines([line], "one", {0.0: "1", 1.0: "2"}, percent=True)
    assert 'class="paper l0"' in drawn and "a, 2: paper 86.00" in drawn
    ticks = [float(text) for text in re.findall(r">([\d.]+) %<", drawn)]
    assert (ticks[0], ticks[-1]) == (85.0, 100.0)
    top = min(float(y) for y in re.findall(r' y[12]="([\d.]+)"', drawn))
    assert top == 8.0  # where 100 % is: the whisker ends there
    whisker = charts.bars([("m", [charts.Bar("base", 99.0, 5.0)])], "label")
    ends = [float(x) for x in re.findall(r'x2="([\d.]+)"', whisker)]
    assert max(ends) == charts.WIDTH - 36  # where 100 % is


def test_headings_of_bars_are_whole_and_safe():
    headings = [f"{'m' * 80} (TEACHER LR={i}) {EVIL}" for i in (1, 2)]
    drawn = charts.bars([(heading, [charts.Bar("base", 50.0)]) for heading in headings], "label")
    assert drawn.count("<svg") == 2 and f"{'m' * 80} (TEACHER LR=1) &lt;img" in drawn and "<img" not in drawn


def test_a_ninth_line_is_not_taken_for_the_first():
    names = [f"method {i}" for i in range(10)]
    drawn = charts.lines([charts.Line(name, [(0.0, 5.0, None)]) for name in names], "ten")
    kinds = re.findall(r'class="line ([^"]+)"', drawn)
    assert len(set(kinds)) == 10 == len(set(re.findall(r'class="line ([^"]+)"', charts.legend(names))))
    style = pages.STYLE.read_text(encoding="utf-8")
    assert all(f".{name} " in style for kind in kinds for name in kind.split())


def test_many_data_sets_begin_with_averages_and_methods_by_data_sets(tmp_path):
    benchmark(tmp_path / "output", ("base2new", "fewshot"), seeds=2)
    text = made(tmp_path / "output")
    heads = re.findall(r"<h2>([^<]*)</h2>", text)
    assert heads[:2] == ["base2new, inductive: averages", "base2new, inductive: HM of each data set"]
    first, second, third = text.split("<section")[1:4]
    assert first.count("<tr data-f=") == second.count("<tr data-f=") == 8  # a row for each method
    assert first.count("average of 11") == 16 and "<th" in second and second.count("<th ") == 2 + 11 + 1
    assert third.count("<tr data-f=") == 8 * 12 and '<details class="fold"><summary>Each metric' in third
    assert 'class="paper l' in text  # in the curves
    runs = text.partition("<h2>Runs</h2>")[2]
    outer = re.findall(r'<details class="fold"><summary>([^<]*) <span>(\d+) runs', runs)
    assert [(name, int(n)) for name, n in outer if name.startswith(("base2new", "fewshot"))] == [
        ("base2new, inductive", 7 * 11 * 2 + 11),
        ("base2new, transductive", 22),
        ("fewshot, inductive", 5 * 7 * 11 * 2 + 11),
        ("fewshot, transductive", 5 * 22),
    ]
    assert sum(name == "EuroSAT" for name, _ in outer) == 4
    assert "CoOp ViT-B/16, 4 shots: accuracy" in runs


def test_ticks_span_the_values_with_round_numbers():
    assert charts._ticks(0.13, 0.88, 5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts._ticks(61.0, 61.0, 5)[0] <= 61.0 <= charts._ticks(61.0, 61.0, 5)[-1]


# What a reader does; each gives what is then to be seen.
TABLE = """(() => {
  const table = document.querySelector("table.sort"), headings = [...table.tHead.rows[0].cells];
  const at = (name) => headings.findIndex((cell) => cell.textContent === name);
  window.column = (name) => [...table.tBodies[0].rows].map((row) => row.cells[at(name)].textContent);
  window.sorted = (name) => { headings[at(name)].firstChild.click(); return column(name); };
  window.order = (name) => headings[at(name)].getAttribute("aria-sort");
})()"""
FILTER = """((text) => {
  const field = document.getElementById("filter"), seen = (selector) =>
    [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility()).length;
  field.value = text; field.dispatchEvent(new Event("input"));
  return [seen(".run"), seen("section.block"), document.getElementById("found").textContent];
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


chromium = pytest.mark.skipif(not PROGRAM, reason="no Chromium on this machine: apt-get install chromium")


@chromium
def test_page_opens_quietly_and_asks_for_nothing(output, browser):
    made(output)
    page = output.parent / "pages" / "report.html"
    browser.open(page, 1280, 900)
    assert browser.do("document.querySelector('h1').textContent") == "Results"
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    images = browser.do("[...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert images == [[True, 30]]
    # The test sees what it is to see: an error, and a request, which the page's own policy stops.
    browser.do("console.error('seen'); fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'stopped')")
    assert browser.console[0] == "seen" and any("Content Security Policy" in line for line in browser.console[1:])


@chromium
def test_tables_sort_by_their_headings(output, browser):
    made(output)
    browser.open(output.parent / "pages" / "report.html", 1280, 900)
    browser.do(TABLE)
    down = browser.do("sorted('base')")
    numbers = [float(cell.split()[0]) for cell in down]
    assert numbers == sorted(numbers, reverse=True) and numbers[0] > numbers[-1]
    assert browser.do("order('base')") == "descending"
    assert browser.do("sorted('base')") == down[::-1] and browser.do("order('base')") == "ascending"
    names = browser.do("sorted('method')")
    assert names == sorted(names, key=str.lower) and browser.do("order('base')") == "none"


@chromium
def test_filter_shows_what_has_every_word(output, browser):
    made(output)
    browser.open(output.parent / "pages" / "report.html", 1280, 900)
    assert browser.do(f"{FILTER}('')") == [7, 6, ""]
    assert browser.do(f"{FILTER}('PROMPTKD eurosat')") == [2, 2, "2 runs match"]  # its table and its chart
    assert browser.do(f"{FILTER}('no such run')") == [0, 0, "0 runs match"]
    assert browser.do(f"{FILTER}('')")[0] == 7


@chromium
def test_many_runs_are_folded_and_opened_by_the_filter(browser, tmp_path):
    benchmark(tmp_path / "output", ("base2new",), seeds=2)
    made(tmp_path / "output", "--gallery", "0")
    browser.open(tmp_path / "pages" / "report.html", 1280, 900)
    assert browser.do("document.documentElement.scrollHeight") < 6000
    assert browser.do(f"{FILTER}('')")[0] == 0
    assert browser.do(f"{FILTER}('maple eurosat')")[::2] == [2, "2 runs match"]
    rows = "[...document.querySelectorAll('tbody tr')].filter((row) => row.checkVisibility()).length"
    assert browser.do(rows) == 2  # in the table with a column for the data set, and in the one with a row, unfolded
    assert browser.do(f"{FILTER}('')")[0] == 0  # folded again
    where = "[...document.querySelectorAll('.fold')].find((one) => one.textContent.startsWith('Each metric'))"
    scrolled = f"""(() => {{
      const fold = {where}; fold.open = true;
      const box = fold.querySelector(".scroll"); box.scrollTop = 400;
      return [box.scrollTop, fold.querySelector("th").getBoundingClientRect().top - box.getBoundingClientRect().top];
    }})()"""
    assert browser.do(scrolled) == [400, 0]  # the headings stay


@chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_light_dark_and_width(output, browser, width):
    """Wide tables scroll by themselves, an open run fits too; in the dark, light letters stand on a dark ground."""
    made(output)
    shades = []
    for dark in (False, True):
        browser.open(output.parent / "pages" / "report.html", width, 844, dark)
        browser.do("for (const run of document.querySelectorAll('details')) run.open = true")
        assert browser.do("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        colours = browser.do(
            "['backgroundColor', 'color'].map((name) => "
            "getComputedStyle(document.body)[name].match(/[0-9]+/g).map(Number))"
        )
        shades.append([sum(colour[:3]) for colour in colours])
    (paper, ink), (dark_paper, dark_ink) = shades
    assert paper > 3 * 230 > 3 * 60 > ink and dark_ink > 3 * 200 > 3 * 60 > dark_paper


@chromium
def test_print_has_no_filter_and_cuts_no_table(output, browser, tmp_path):
    made(output)
    browser.open(output.parent / "pages" / "report.html", 1280, 900)
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.do("document.querySelector('.filter').checkVisibility()") is False
    style = "getComputedStyle(document.querySelector('.scroll')).overflowX"
    assert browser.do(style) == "visible"


@chromium
def test_print_fits_tables_of_eleven_data_sets_on_the_page(browser, tmp_path):
    """Upright A4 with Chromium's margins is 717 pixels wide; they are printed across it, where there are 1,043."""
    benchmark(tmp_path / "output", ("base2new", "cross"), seeds=2)
    made(tmp_path / "output", "--gallery", "0")
    browser.open(tmp_path / "pages" / "report.html", 717, 1000)
    browser.call("Emulation.setEmulatedMedia", media="print")
    ends = browser.do("[...document.querySelectorAll('table')].map((one) => one.getBoundingClientRect().right)")
    assert len(ends) >= 4 and max(ends) <= 717
    assert browser.do("document.documentElement.scrollWidth") <= 717
    widest = "[...document.querySelectorAll('section')].find((one) => one.textContent.startsWith('cross'))"
    assert browser.do(f"getComputedStyle({widest}).page") == "wide"
