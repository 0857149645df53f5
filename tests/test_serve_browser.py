"""The page of `adjax serve` in Chromium: dropped and chosen pictures, keyboard, phone, dark, a token, hostile names.

Needs what tests/test_report_browser.py needs.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from serving import PLACES, ask, save_with_places, serving
from test_report_browser import CHROMIUM, DRIVER, browser  # noqa: F401 (a fixture)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and chromedriver on the path"),
]
selenium = pytest.importorskip("selenium", reason="selenium is missing: pip install -e '.[browser]'")
HOSTILE = "<img src=x onerror=window.harm=1>.png"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = save_with_places(tmp_path_factory)
    with serving(directory) as (port, _):
        yield port, directory


@pytest.fixture
def files(tmp_path):
    """A normal picture, one with a bright part under a hostile name, and one that is none."""
    image = np.random.default_rng(7).integers(90, 130, PLACES[:2], np.uint8)
    bad = image.copy()
    bad[4:12, 4:12] = 255
    paths = [tmp_path / "good.png", tmp_path / HOSTILE, tmp_path / "none.png"]
    Image.fromarray(image).save(paths[0])
    Image.fromarray(bad).save(paths[1])
    paths[2].write_bytes(b"no picture")
    return paths


class Page:
    def __init__(self, driver, port):
        self.driver, self.port = driver, port
        driver.get_log("performance"), driver.get_log("browser")
        driver.get(f"http://127.0.0.1:{port}/")
        self.until("title.textContent != 'adjax' || !document.getElementById('token-line').hidden")

    def run(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def until(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 20).until(lambda _: self.run(f"return {condition}"))

    def choose(self, paths):
        self.driver.find_element("id", "files").send_keys("\n".join(map(str, paths)))
        self.until("/\\d+ pictures?: |then:/.test(said.textContent) && !said.textContent.includes('…')")

    def cards(self):
        """Name → (class, text)."""
        found = self.driver.find_elements("css selector", "#rows li")
        return {
            card.find_element("css selector", ".name").text: (card.get_attribute("class"), card.text) for card in found
        }


def test_chosen_pictures_show_what_the_server_says(browser, server, files):  # noqa: F811
    port, _ = server
    page = Page(browser, port)
    page.choose(files)
    said, cards = page.run("return said.textContent"), page.cards()
    assert said == "3 pictures: 1 anomalous."
    row = ask(port, "POST", "/v1/score", files[1].read_bytes())[1]["images"][0]
    kind, text = cards[HOSTILE]
    assert kind == "anomalous"
    assert f"{row['score']:.4g}" in text
    assert f"{row['p_value']:.2g}" in text
    assert cards["good.png"][0] == "normal"
    assert "no PNG" in cards["none.png"][1]
    assert page.run("return window.harm === undefined")


def test_a_map_is_shown_and_hidden_by_keyboard(browser, server, files):  # noqa: F811
    from selenium.webdriver.common.keys import Keys

    page = Page(browser, server[0])
    page.choose(files[1:2])
    button = browser.find_element("css selector", "#rows button")
    image = browser.find_element("css selector", "#rows img")
    assert button.text == "Show the picture"
    assert image.get_attribute("src").startswith("data:image/png")
    page.until("rows.querySelector('img').naturalWidth >= 224")
    page.run("document.querySelector('#rows button').focus()")
    browser.switch_to.active_element.send_keys(" ")
    assert button.text == "Show where"
    assert image.get_attribute("src").startswith("blob:")
    button.send_keys(Keys.SHIFT, Keys.TAB)
    assert page.run("return document.activeElement.id") == "files"


def test_dropped_pictures_are_scored(browser, server, files):  # noqa: F811
    page = Page(browser, server[0])
    page.run(
        """
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 28;
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], 'dropped.png', { type: 'image/png' }));
          document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        });
        """
    )
    page.until("said.textContent.startsWith('1 picture:')")
    assert list(page.cards()) == ["dropped.png"]


def test_nobody_else_is_asked_and_nothing_is_refused_by_the_policy(browser, server, files):  # noqa: F811
    page = Page(browser, server[0])
    page.choose(files[:2])
    messages = [json.loads(x["message"])["message"] for x in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    own = (f"http://127.0.0.1:{server[0]}/", "data:", "blob:")
    assert asked
    assert not [url for url in asked if not url.startswith(own)]
    assert not [x for x in browser.get_log("browser") if x["level"] == "SEVERE"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(browser, server, files, scheme):  # noqa: F811
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        page = Page(browser, server[0])
        page.choose(files[:2])
        assert page.run("return document.documentElement.scrollWidth") <= 360
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, colour[4:-1].split(","))) < 200) == (scheme == "dark")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_token_is_asked_for(browser, server, files):  # noqa: F811
    with serving(server[1], token="secret") as (port, _):
        page = Page(browser, port)
        assert page.run("return said.textContent") == "This server asks for a token."
        field = browser.find_element("id", "token")
        field.send_keys("other\n")
        page.run("token.dispatchEvent(new Event('change'))")
        page.until("said.textContent === 'That is another token.'")
        field.clear()
        field.send_keys("secret")
        page.run("token.dispatchEvent(new Event('change'))")
        page.until("said.textContent === ''")
        page.choose(files[:1])
        assert page.cards()["good.png"][0] == "normal"


def test_a_server_that_has_gone_is_said(browser, server, files):  # noqa: F811
    with serving(server[1]) as (port, _):
        page = Page(browser, port)
    page.choose(files[:1])
    assert "0 of 1 done; then:" in page.run("return said.textContent")
