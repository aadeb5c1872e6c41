"""The demo in a real browser: what a user does, and that no other host hears of it.

`open_page` asserts after every test that its pages asked the demo's own server alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pointlang

pytestmark = pytest.mark.slow
WAIT = 240  # seconds for an answer: a machine that trains beside the tests is slow
MESSAGES = "#chat [data-testid=user], #chat [data-testid=bot]"
# WebGL in software draws all the time that a page is open: for the test that looks at the cloud.
QUIET = ("--disable-gpu", "--disable-3d-apis")
DRAWING = ("--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader")


@pytest.fixture(scope="module")
def tiny(root: Path) -> pointlang.System:
    """The facade's own tiny system."""
    return pointlang.load(root / "tiny", "cpu")


def choose(page: Any, name: str) -> None:
    """Choose a trained system."""
    page.locator("#system input").click()
    page.get_by_role("option", name=name).click()


def drop(page: Any, path: Path, field: str = "#upload") -> None:
    """Upload a file."""
    page.locator(f"{field} input[type=file]").set_input_files(path)


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def message(page: Any) -> str:
    """Return the text of the page's message."""
    toast = page.locator(".toast-body").last
    toast.wait_for()
    return toast.inner_text()


def wait_until(check: Callable[[], object]) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not become true.
    """
    deadline = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.2)


def test_a_dropped_file_turns_and_gets_a_caption(
    open_page: Any, objects: Path, tiny: pointlang.System
) -> None:
    page = open_page(*DRAWING)
    drop(page, objects / "red.npy")
    page.get_by_text("1,200 points").wait_for()
    canvas = page.locator("#view canvas")
    wait_until(lambda: _share_of_red(canvas) > 0.02)
    first = canvas.screenshot()
    wait_until(lambda: canvas.screenshot() != first)
    page.click("#describe")
    caption = page.locator("#caption textarea")
    wait_until(lambda: caption.input_value())
    assert caption.input_value() == tiny.caption(objects / "red.npy")[0]


def _share_of_red(canvas: Any) -> float:
    import io

    from PIL import Image

    seen = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
    return float(((seen[..., 0] > 90) & (seen[..., 1] < 60) & (seen[..., 2] < 60)).mean())


def test_a_chat_over_two_turns(open_page: Any, objects: Path, tiny: pointlang.System) -> None:
    page = open_page(*QUIET)
    drop(page, objects / "green.npy")
    page.get_by_text("1,200 points").wait_for()
    open_tab(page, "Chat")
    asked = ["What is this?", "Is <b>it</b> green?"]
    for question in asked:
        page.locator("#question textarea").fill(question)
        page.click("#ask")
        page.locator("#chat").get_by_text(question).wait_for()
    first = tiny.ask(objects / "green.npy", asked[0])
    second = tiny.ask(objects / "green.npy", asked[1], [(asked[0], first)])
    shown = page.locator(MESSAGES).all_inner_texts()
    assert [text.strip() for text in shown] == [asked[0], first, asked[1], second]
    page.locator("#picker img").first.click()  # another object begins another chat
    wait_until(lambda: page.locator(MESSAGES).count() == 0)


def test_own_labels_and_a_search(open_page: Any, objects: Path, tiny: pointlang.System) -> None:
    page = open_page(*QUIET)
    drop(page, objects / "blue.npy")
    page.get_by_text("1,200 points").wait_for()
    open_tab(page, "Classify")
    page.locator("#labels textarea").fill("armchair, lamp")
    page.click("#classify")
    (row,) = tiny.classify(objects / "blue.npy", ["armchair", "lamp"])
    best = next(iter(row))
    page.locator("#classes").get_by_text(best).first.wait_for()
    assert f"{100 * row[best]:.0f}%" in page.locator("#classes").inner_text()
    open_tab(page, "Search")
    page.click("#by_object")
    page.locator("#found img").first.wait_for()
    gallery = tiny.gallery([objects / f"{name}.npy" for name in ("blue", "green", "red")])
    nearest = tiny.retrieve(objects / "blue.npy", gallery)
    expected = [f"{score:.2f} {Path(name).stem}" for name, score in nearest]
    assert page.locator("#found .caption-label").all_inner_texts() == expected
    page.locator("#found img").last.click()
    page.locator("#notes").get_by_text(Path(nearest[-1][0]).name).wait_for()


def test_an_object_of_the_collection(open_page: Any) -> None:
    page = open_page(*QUIET)
    page.locator("#picker img").nth(1).click()
    page.locator("#notes").get_by_text("green.npy").wait_for()


@pytest.mark.parametrize("name", ["broken.ply", "notes.md"])
def test_a_bad_file_is_a_message_and_the_page_goes_on(
    open_page: Any, objects: Path, tmp_path: Path, name: str
) -> None:
    bad = tmp_path / name
    bad.write_bytes((objects / "broken.ply").read_bytes())
    page = open_page(*QUIET)
    drop(page, bad)
    text = message(page)
    assert name in text
    assert "next:" in text or "expected:" in text
    assert "Traceback" not in text
    assert "/" not in text.replace("</b>", "")  # no folder of the server
    page.locator("#upload input[type=file]").wait_for(state="attached")
    drop(page, objects / "red.npy")
    page.get_by_text("1,200 points").wait_for()


def test_a_file_that_is_too_large_is_a_message(open_page: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.npy"
    np.save(large, np.zeros((60_000, 3)))
    page = open_page(*QUIET)
    drop(page, large)
    assert "maximum allowed size of 1" in message(page)


def test_without_an_object_the_next_step(open_page: Any) -> None:
    page = open_page(*QUIET)
    page.click("#describe")
    assert "drop a file, or pick an object" in message(page)


def test_two_users_at_once_do_not_meet(open_page: Any, objects: Path) -> None:
    pages = {name: open_page(*QUIET) for name in ("red", "green")}
    for name, page in pages.items():
        drop(page, objects / f"{name}.npy")
    for page in pages.values():
        page.get_by_text("1,200 points").wait_for()
        open_tab(page, "Search")
    for page in pages.values():
        page.click("#by_object")
    for page in pages.values():
        open_tab(page, "Chat")
        page.locator("#question textarea").fill("What is this?")
        page.click("#ask")
    for name, page in pages.items():
        page.locator(MESSAGES).nth(1).wait_for()
        assert page.locator(MESSAGES).count() == 2
        open_tab(page, "Search")
        page.locator("#found img").first.wait_for()
        assert page.locator("#found .caption-label").first.inner_text() == f"1.00 {name}"
        assert f"{name}.npy" in page.locator("#notes").inner_text()


def test_another_system_switches_off_what_it_cannot_do(open_page: Any, room: Path) -> None:
    page = open_page(*QUIET)
    choose(page, "rooms")
    page.get_by_text("It can: segment").wait_for()
    wait_until(lambda: page.locator("#describe").is_disabled())
    open_tab(page, "Room")
    drop(page, room, "#room")
    page.locator("#room_notes").get_by_text("1,200 points").wait_for()
    page.locator("#words textarea").fill("bed, floor lamp")
    page.click("#segment")
    frame = page.frame_locator("#result iframe")
    frame.get_by_role("heading", name="my room").first.wait_for()
    assert "floor lamp" in frame.locator("main").inner_text()
    page.locator("#shares").get_by_text("floor lamp").first.wait_for()


def test_the_browser_refuses_other_hosts(open_page: Any) -> None:
    page = open_page(*QUIET)
    refused = page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', event => done(event.blockedURI));
            fetch('http://other.invalid/').catch(() => {});
            setTimeout(() => done('not refused'), 20000);
        })"""
    )
    assert refused.startswith("http://other.invalid")


def test_the_server_printed_no_traceback(open_page: Any, server: Any) -> None:
    open_page(*QUIET)
    assert "Traceback" not in server.log.read_text()
