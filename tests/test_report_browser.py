"""The report as its reader has it: opened from disk in Chromium, by mouse and keyboard, on a phone, in the dark.

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`) and `pip install -e '.[browser]'`.
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import re
import shutil
import threading

import numpy as np
import pytest

from adjax.report import Pictures, Report, Table, View, choose, write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and chromedriver on the path"),
]
selenium = pytest.importorskip("selenium", reason="selenium is missing: pip install -e '.[browser]'")

HOSTILE = "<img src=x onerror=1>.png"
SCRIPT = "<script>window.harm = 1</script>"


@pytest.fixture(scope="module")
def outside():
    """A server that nobody must ask; what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def judged(name="kept", seed=0) -> View:
    rng = np.random.default_rng(seed)
    truth = (rng.random(3000) < 0.3).astype(int)
    scores = (rng.gamma(2, 0.3, 3000) + 2 * truth * rng.random(3000)).astype(np.float32)
    return View(
        name,
        scores,
        threshold=1.5,
        truth=truth,
        labels=np.where(truth, -1, rng.integers(0, 4, 3000)),
        classes=("cat", "dog", HOSTILE, SCRIPT),
        held_out=rng.gamma(2, 0.3, 500),
        nominal=0.05,
        features=rng.normal(size=(3000, 2)) + 3 * truth[:, None],
    )


def with_pictures(view: View, *names: str) -> View:
    rows = choose(view.scores, view.truth)
    images = np.random.default_rng(0).integers(0, 256, (len(rows), 12, 12, 3)).astype(np.uint8)
    own = [names[k % len(names)] for k in range(len(rows))]
    return dataclasses.replace(view, pictures=Pictures(rows, images, images, images[..., 0].astype(float), own))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, outside):
    """A judged report and a scored folder's, whose file names try everything."""
    where, _ = outside
    names = (HOSTILE, SCRIPT, f"<img src={where}/name>", f"javascript:fetch('{where}')")
    folder = tmp_path_factory.mktemp("report")
    main = with_pictures(judged(), *names)
    headline = Table(
        ("", "OOD AUROC", "accuracy", "class F1", "FPR95", "OOD F1"),
        [(f"{name} of several words, shrinkage 0 (the paper's form)", *["0.9956 ±0.0009"] * 5) for name in "abc"],
    )
    table = Table(("class", "AUROC"), [("b", "0.9"), (HOSTILE, "0.95"), ("c", "0.1"), (SCRIPT, None)])
    facts = {HOSTILE: [(SCRIPT, f"<link href={where}/fact>")]}
    whole = Report(
        HOSTILE,
        SCRIPT,
        views=[main, judged("another", 1)],
        headline=headline,
        members=table,
        facts=facts,
        command=SCRIPT,
    )
    write(whole, folder / "report.html")
    scored = dataclasses.replace(main, truth=None, labels=None, classes=())
    errors = Table(("path", "reason"), [(HOSTILE, "no image"), (SCRIPT, "damaged")])
    write(Report("scores of photos/", views=[scored], errors=errors), folder / "scored.html")
    return folder


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


class Page:
    """What the tests ask of a page."""

    def __init__(self, driver, path):
        self.driver, self.path = driver, path
        driver.get_log("performance"), driver.get_log("browser")
        driver.get(path.as_uri())

    def find(self, css):
        return self.driver.find_element("css selector", css)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def texts(self, css):
        return [x.get_attribute("textContent") for x in self.all(css)]

    def run(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def settle(self):
        """Until what was asked for has been drawn."""
        self.driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done, 30))")

    def asked_for(self):
        """Every address that the page has asked for."""
        messages = [json.loads(x["message"])["message"] for x in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def type_threshold(self, value):
        field = self.find("#exact")
        field.clear()
        field.send_keys(repr(float(value)), "\ue007")
        self.settle()

    def table(self, css):
        cells = [[c.get_attribute("textContent") for c in row.find_elements("css selector", "th,td")]
                 for row in self.all(f"{css} tbody tr")]  # fmt: skip
        return {row[0]: row[1:] for row in cells}


@pytest.fixture
def page(browser, folder):
    return Page(browser, folder / "report.html")


def counts(view, threshold):
    flagged = ~(view.scores <= np.float64(threshold))
    return [[int((flagged & (view.truth == k)).sum()), int((~flagged & (view.truth == k)).sum())] for k in (1, 0)]


def seen_counts(page):
    table = page.table("#confusion")
    return [[int(x.replace(",", "")) for x in table[kind][:2]] for kind in ("anomalous", "normal")]


def test_nothing_leaves_the_file_and_nothing_goes_wrong(page, outside):
    page.settle()
    asked = page.asked_for()
    assert page.path.as_uri() in asked
    assert all(url == page.path.as_uri() or url.startswith("data:image/png") for url in asked), asked
    assert outside[1] == []
    assert page.driver.get_log("browser") == []


def test_even_if_markup_got_in_the_policy_would_hold_it(page, outside):
    where, asked = outside
    page.run(
        """const hole = document.createElement("div");
        hole.innerHTML = `<img src="${arguments[0]}/hole" onerror="window.harm = 2"><p onclick="window.harm = 3">x</p>`;
        document.body.append(hole);
        hole.querySelector("p").click();
        const script = document.createElement("script");
        script.textContent = "window.harm = 4";
        document.body.append(script);""",
        where,
    )
    page.settle()
    assert page.run("return window.harm") is None
    assert asked == []
    assert any("Content Security Policy" in x["message"] for x in page.driver.get_log("browser"))


def test_hostile_names_are_text(page):
    assert page.find("h1").text == HOSTILE
    assert page.driver.title == HOSTILE
    names = page.texts("figcaption .name")
    assert HOSTILE in names
    assert SCRIPT in names
    assert {HOSTILE, SCRIPT} <= set(page.table("#class-table")) & set(page.table("#members"))
    assert page.find(".command").text == SCRIPT
    assert all(x.get_attribute("src").startswith("data:image/png") for x in page.all("img"))
    assert len(page.all("script")) == 2
    assert page.run("return window.harm") is None


def test_the_slider_moves_everything_that_depends_on_it(page):
    view = judged()
    assert seen_counts(page) == counts(view, 1.5)
    before = page.find("#verdict").text
    slider = page.find("#slider")
    for _ in range(40):
        slider.send_keys("\ue014")  # arrow right
    page.settle()
    threshold = float(page.find("#exact").get_attribute("value"))
    assert threshold > 1.5
    assert seen_counts(page) == counts(view, threshold)
    (tp, fn), (fp, tn) = counts(view, threshold)
    rates = page.table("#rates")
    assert rates["TPR (recall)"][0] == f"{100 * tp / (tp + fn):.2f}%"
    assert rates["FPR"][0] == f"{100 * fp / (fp + tn):.2f}%"
    assert rates["precision"][0] == f"{100 * tp / (tp + fp):.2f}%"
    assert rates["F1"][0] == f"{2 * tp / (2 * tp + fp + fn):.4f}"
    assert rates["accuracy"][0] == f"{100 * (tp + tn) / 3000:.2f}%"
    assert page.find("#verdict").text != before
    assert slider.get_attribute("aria-valuetext").startswith(f"{threshold:.4g}")
    assert page.find("#strip-alarms h3").text == f"False alarms: {fp}"
    assert page.find("#strip-misses h3").text == f"Misses: {fn}"
    flagged = {name: int(row[2].replace(",", "")) for name, row in page.table("#class-table").items()}
    assert flagged["cat"] == (view.scores[(view.labels == 0)] > threshold).sum()


def test_any_threshold_can_be_typed_and_the_gallery_shows_its_worst(page):
    view = judged()
    for threshold in (0.25, 2.75, 100.0):
        page.type_threshold(threshold)
        assert seen_counts(page) == counts(view, threshold)
        for strip, rows in (
            ("alarms", np.sort(view.scores[(view.truth == 0) & (view.scores > threshold)])[::-1]),
            ("misses", np.sort(view.scores[(view.truth == 1) & (view.scores <= threshold)])),
        ):
            found = [float(x) for x in page.texts(f"#strip-{strip} figcaption b")]
            np.testing.assert_allclose(found, rows[:12], rtol=1e-3)
    page.find("#choices button").click()
    page.settle()
    assert seen_counts(page) == counts(view, 1.5)
    assert page.find("#choices button").get_attribute("aria-pressed") == "true"


def test_p_values_and_calibration_are_the_held_out_images(page):
    view = judged()
    score = float(page.texts("#strip-misses figcaption b")[0])
    row = np.argmin(np.where(view.truth == 1, view.scores, np.inf))
    assert score == pytest.approx(view.scores[row], rel=1e-3)
    expected = (1 + (view.held_out.astype(np.float32) >= view.scores[row]).sum()) / 501
    assert page.texts("#strip-misses figcaption span")[0] == f"p {expected:.3f}"
    p = (1 + (view.held_out.astype(np.float32)[None] >= view.scores[view.truth == 0][:, None]).sum(1)) / 501
    for nominal, (realised, *_) in page.table("#calibration-rows").items():
        alpha = float(nominal.rstrip("%")) / 100
        assert realised == f"{100 * (p <= alpha).mean():.2f}%"


def test_a_press_on_a_heading_sorts(page):
    def column(k):
        return page.texts(f"#class-table tbody tr > :nth-child({k + 1})")

    heading = "#class-table th:nth-child(4)"
    page.find(f"{heading} button").click()
    assert page.find(heading).get_attribute("aria-sort") == "descending"
    values = [int(x.replace(",", "")) for x in column(3)]
    assert values == sorted(values, reverse=True)
    page.find(f"{heading} button").send_keys("\ue007")  # the keyboard does, too
    assert page.find(heading).get_attribute("aria-sort") == "ascending"
    assert [int(x.replace(",", "")) for x in column(3)] == values[::-1]
    page.type_threshold(0.9)  # still sorted when the numbers have changed
    values = [int(x.replace(",", "")) for x in column(3)]
    assert values == sorted(values)
    assert page.find(heading).get_attribute("aria-sort") == "ascending"
    page.find("#class-table th:first-child button").click()
    assert page.find(heading).get_attribute("aria-sort") is None
    page.find("#members th:nth-child(2) button").click()
    assert page.texts("#members tbody td") == ["0.95", "0.9", "0.1", ""]


def test_another_view_has_its_own_numbers(page):
    page.find("#view option:nth-child(2)").click()
    page.settle()
    assert seen_counts(page) == counts(judged("another", 1), 1.5)
    assert len(page.all("#roc path.curve")) == 2


def test_every_plot_is_drawn_and_has_a_table(page):
    for plot in page.all(".plot"):
        assert plot.find_elements("css selector", "svg path, svg polygon"), plot.get_attribute("id")
        assert plot.get_attribute("aria-label")
    for summary in page.all("details summary"):
        summary.send_keys("\ue007")
    page.settle()
    for details in page.all("details"):
        assert len(details.find_elements("css selector", "tbody tr")) > 3, details.text
    bad = re.findall(r"NaN|Infinity|undefined", page.run("return document.querySelector('main').innerHTML"))
    assert not bad


def test_the_histogram_counts_every_image(page):
    page.find("#histogram-data summary").click()
    page.settle()
    rows = page.table("#histogram-data").values()
    totals = np.sum([[int(x.replace(",", "")) for x in row] for row in rows], axis=0)
    view = judged()
    np.testing.assert_allclose(totals, [(view.truth == 0).sum(), (view.truth == 1).sum()], atol=1)


def test_a_phone_needs_no_sideways_scrolling(page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.driver.refresh()
        page.settle()
        assert page.run("return document.documentElement.scrollWidth") <= 390
        for svg in page.all(".plot svg"):  # drawn for this width, not shrunk to it
            assert float(svg.get_attribute("width")) <= svg.size["width"] + 1 <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_a_phone_names_and_the_headline_column_stay_in_view(page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.driver.refresh()
        page.settle()
        edges = """return [...document.querySelectorAll("#headline tbody tr:first-child > *")].map(
            (cell) => cell.getBoundingClientRect());"""
        name, first = page.run(edges)[:2]
        assert name["left"] >= 0
        assert first["right"] <= 390
        page.run("document.querySelector('#strip-misses figure button').click()")
        assert page.find("dialog img").size["width"] > 300  # one below the other
        page.find("dialog button").send_keys("\ue00c")
        page.run("document.querySelector('#headline .scroll').scrollLeft = 1e6")
        assert page.run(edges)[0]["left"] >= 0  # of what is read further on, the name is still there
        assert page.run(edges)[5]["right"] <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_press_on_a_picture_enlarges_it(page):
    small = page.find("#strip-misses figure button")
    width = small.find_element("css selector", "img").size["width"]
    name = small.get_attribute("aria-label")
    page.run("arguments[0].scrollIntoView({block: 'center'})", small)
    for way in ("click", "keyboard"):
        small.click() if way == "click" else small.send_keys("\ue007")
        dialog = page.find("dialog[open]")
        images = dialog.find_elements("css selector", "img")
        assert [x.get_attribute("title") for x in images] == ["image", "reconstruction", "anomaly map"]
        assert images[0].size["width"] > 3 * width
        assert dialog.find_element("css selector", ".name").text in name
        dialog.click() if way == "click" else dialog.find_element("css selector", "button").send_keys("\ue00c")
        page.settle()
        assert not page.all("dialog")
        assert page.run("return document.activeElement === arguments[0]", small)
    assert page.run("return window.harm") is None


def test_the_rule_is_said_in_words(page):
    assert page.find("#verdict").text.startswith("Flagged if score > 1.5: ")
    page.type_threshold(0.25)
    assert page.find("#verdict").text.startswith("Flagged if score > 0.25: ")


@pytest.mark.parametrize(
    ("held_out", "normal", "offered"),
    [
        (None, 40, ["5% of normal images flagged"]),
        (None, 400, ["1% of normal images flagged", "5% of normal images flagged"]),
        (18, 400, []),
        (20, 400, ["at most 5% of normal images flagged"]),
        (99, 40, ["at most 1% of normal images flagged", "at most 5% of normal images flagged"]),
    ],
)
def test_a_rate_is_offered_where_the_images_can_promise_it(browser, tmp_path, held_out, normal, offered):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=normal + 10).astype(np.float32)
    levels = None if held_out is None else np.sort(rng.normal(size=held_out).astype(np.float32))
    view = View("v", scores, 1.5, truth=np.repeat([0, 1], [normal, 10]), held_out=levels)
    write(Report("rates", views=[view]), tmp_path / "r.html")
    page = Page(browser, tmp_path / "r.html")
    buttons = page.all("#choices button")
    assert [x.text for x in buttons if "% of normal" in x.text] == offered
    if held_out == 20:  # ⌈21 · 0.95⌉ = 20: the highest
        assert float(buttons[1].get_attribute("value")) == levels[-1]


def test_ticks_are_round_and_legends_have_the_colours_of_what_is_drawn(page):
    ticks = [float(x.replace("%", "")) for x in page.texts("#histogram .tick, #samples-plot .tick") if "," not in x]
    assert len(ticks) > 12
    assert all(len(f"{abs(x):.6g}".replace(".", "").strip("0")) <= 2 for x in ticks), ticks
    colours = """
        const style = (css) => getComputedStyle(document.querySelector(css));
        const samples = ["normal", "anomalous"].map((kind) => ["#samples-plot", kind]);
        return [...samples, ["#plane", "class-1"], ["#plane", "anomalous"]].map(
          ([plot, kind]) => [style(`${plot} .mark.${kind}`), style(`${plot} .points.${kind}`)].map((s, k) =>
            k ? [s.stroke, s.strokeOpacity] : [s.backgroundColor, s.opacity]));"""
    for mark, points in page.run(colours):
        assert mark == points


def brightness(page):
    colour = page.run("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_it_is_dark_where_the_reader_wants_it(page):
    assert brightness(page) > 700
    wanted = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    try:
        assert brightness(page) < 120
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_scored_folder_without_truth(browser, folder):
    page = Page(browser, folder / "scored.html")
    view = judged()
    page.type_threshold(1.0)
    flagged = int((view.scores > 1).sum())
    assert page.table("#tally")["flagged"][0] == f"{flagged:,}"
    assert page.find("#strip-alarms h3").text == f"Most anomalous: {flagged:,}"
    assert page.texts("#strip-alarms figcaption b")[0] == f"{view.scores.max():.4g}"
    assert set(page.table("#errors")) == {HOSTILE, SCRIPT}
    assert not page.all("#roc, #confusion, #calibration")
    assert page.run("return window.harm") is None
    assert page.driver.get_log("browser") == []


def test_of_a_scored_folder_the_nearest_classes_and_the_promise_are_told(browser, tmp_path):
    """At a conformal threshold the page says the rate that was asked for: 24 of 499 + 1 are flagged at most."""
    held_out = np.sort(np.random.default_rng(0).gamma(2, 0.3, 499).astype(np.float32))
    numbered = with_pictures(judged(), *map(str, range(3000)))
    view = dataclasses.replace(numbered, truth=None, held_out=held_out, threshold=float(held_out[499 - 24]))
    write(Report("scores", views=[view]), tmp_path / "r.html")
    page = Page(browser, tmp_path / "r.html")
    assert "at most 4.80% of normal images would be flagged" in page.find("#outcome .about").text
    assert page.texts("#class-table thead th") == [
        "nearest class",
        "images",
        "flagged",
        "share flagged",
        "median score",
    ]
    shown = page.texts("#strip-edge figcaption .verdict")
    assert shown == ["passed"] * 6 + ["flagged"] * 6
    colours = [
        page.run("return getComputedStyle(arguments[0]).borderBottomColor", x) for x in page.all("#strip-edge figure")
    ]
    assert len(set(colours[:6])) == len(set(colours[6:])) == 1
    assert colours[0] != colours[6]
    labels = view.labels[view.pictures.rows[[int(name) for name in page.texts("#strip-edge figcaption .name")]]]
    nearest = [text for text in page.texts("#strip-edge figcaption span") if text.startswith("nearest")]
    assert nearest == [f"nearest: {view.classes[label]}" for label in labels if label >= 0]
    assert nearest
