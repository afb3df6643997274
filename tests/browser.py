"""Chromium without a window, for tests of pages; what a page logged and asked for can be looked at."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

__all__ = ["Browser", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL on the CPU
    "--force-device-scale-factor=1",
    "--window-size=1280,900",
)
_SECONDS = 20.0


def find_chromium() -> tuple[str, str] | None:
    """Paths of Chromium, which ``$CHROMIUM`` may name, and of its driver; None if either is missing."""
    names = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else _NAMES
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One running browser; `driver` is Selenium's.

    Args:
        browser: path of Chromium.
        driver: path of chromedriver; nothing is looked for or downloaded.
        profile: an empty folder for the user's data.
    """

    def __init__(self, browser: str, driver: str, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for option in (*_OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(executable_path=driver))

    def open(self, page: Path) -> None:
        """Load a page from the disk, with empty logs."""
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(page.as_uri())

    def prefer(self, scheme: str) -> None:
        """Say whether the reader likes pages ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function body returns in the page; it finds its arguments in ``arguments``."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """The first true value that the condition gives; AssertionError if there is none in time."""
        deadline = time.monotonic() + _SECONDS
        while not (value := condition()):
            assert time.monotonic() < deadline, "the page did not get there"
            time.sleep(0.02)
        return value

    def texts(self, selector: str) -> list[str]:
        """Text of all elements that are displayed, in the order of the page."""
        elements = "Array.from(document.querySelectorAll(arguments[0])).filter(e => e.checkVisibility())"
        texts: list[str] = self.run(f"return {elements}.map(e => e.textContent.trim())", selector)
        return texts

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field by typing."""
        field = self.driver.find_element("css selector", selector)
        field.clear()
        field.send_keys(text)

    def click(self, selector: str) -> None:
        """Click the first element with the mouse."""
        self.driver.find_element("css selector", selector).click()

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened, without those that hold their content; once."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """What the console says since the page was opened, but for remarks on the speed of drawing; once."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["source"] != "rendering"]

    def close(self) -> None:
        """End it."""
        self.driver.quit()
