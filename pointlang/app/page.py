"""The page of the demo, in gradio: layout, and which event calls what of the service.

Everything that calls a model is one queue (`_MODEL`): users see their place in it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from lavis.common.errors import PointLanguageError
from lavis.common.files import replace_file
from lavis.datasets.convert.up_axis import CHOICES
from pointlang.app.glb import cloud_glb
from pointlang.app.service import Service, Table
from pointlang.objects import Object

TITLE = "Point clouds and language"
# Fonts of the machine: gradio's own themes name fonts of a host.
THEME = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.room iframe { width: 100%; height: 560px; border: 1px solid var(--border-color-primary); }
"""
NO_OBJECT = "Drop a mesh or a cloud, or pick an object below."
PREFERRED = "demo"  # else the system that can do most
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_MODEL = _PRIVATE | {"concurrency_id": "model", "concurrency_limit": 1}
_READING = _PRIVATE | {"concurrency_limit": 4}  # a slow file does not block other users
_HOUR = 3600
_WAITING = 32  # requests; further ones get the error that the queue is full


def build(service: Service, folder: Path) -> gr.Blocks:
    """Return the page.

    Args:
        service: reads files and calls systems.
        folder: for the .glb files that pages show.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(_HOUR, 12 * _HOUR)) as page:
        page.queue(max_size=_WAITING, api_open=False)
        gr.Markdown(f"# {TITLE}")
        table = gr.State(None, time_to_live=12 * _HOUR)
        with gr.Row():
            system = gr.Dropdown(label="Trained system", scale=1, elem_id="system")
            can = gr.Markdown(elem_id="abilities")
        with gr.Tab("Object"):
            buttons = _object_tab(service, folder, system, table)
        with gr.Tab("Room", visible=False) as room:
            buttons["segment"] = [_room_tab(service, system)]
        flat = [(ability, button) for ability, own in buttons.items() for button in own]

        def chosen(name: str | None) -> list[Any]:
            """List what a system can do, and disable the other buttons."""
            able = service.systems().get(name or "", ())
            switched = [gr.update(interactive=ability in able) for ability, _ in flat]
            return [f"It can: {', '.join(able) or 'nothing of this page'}.", *switched]

        def opened() -> list[Any]:
            """List the systems; runs may have been trained since the server began."""
            known = service.systems()
            first = max(known, key=lambda name: (name == PREFERRED, len(known[name])), default=None)
            has_rooms = any("segment" in able for able in known.values())
            listed = gr.update(choices=list(known), value=first)
            return [listed, gr.update(visible=has_rooms), *chosen(first)]

        outputs = [can, *(button for _, button in flat)]
        page.load(reported(opened), None, [system, room, *outputs], **_PRIVATE)
        system.change(reported(chosen), system, outputs, **_PRIVATE)
    return page


@dataclass(frozen=True)
class _ObjectParts:
    """Parts of the object tab that events read or write.

    Attributes:
        view, notes, upload, up, picker: the object.
        describe, caption, question, ask, chat, labels, classify, classes: what is asked about it.
        text, by_text, by_object, found: search in the collection.
        numbers: items of the collection that were found, in the order of `found`.
    """

    view: gr.Model3D
    notes: gr.Markdown
    upload: gr.File
    up: gr.Radio
    describe: gr.Button
    caption: gr.Textbox
    chat: gr.Chatbot
    question: gr.Textbox
    ask: gr.Button
    labels: gr.Textbox
    classify: gr.Button
    classes: gr.Label
    text: gr.Textbox
    by_text: gr.Button
    by_object: gr.Button
    found: gr.Gallery
    picker: gr.Gallery
    numbers: gr.State


def _object_parts(service: Service) -> _ObjectParts:
    """Lay out an object and what is asked about it."""
    with gr.Row():
        with gr.Column(scale=5):
            view = gr.Model3D(label="Object", height=360, interactive=False, elem_id="view")
            notes = gr.Markdown(NO_OBJECT, elem_id="notes")
            with gr.Row():
                upload = gr.File(label="Drop a file", height=140, elem_id="upload")
                up = gr.Radio(list(CHOICES), value="auto", label="Axis that is up")
        with gr.Column(scale=5):
            with gr.Tab("Caption"):
                describe = gr.Button("Describe", variant="primary", elem_id="describe")
                caption = gr.Textbox(label="Caption", lines=3, elem_id="caption")
            with gr.Tab("Chat"):
                chat = gr.Chatbot(
                    label="Chat", height=300, render_markdown=False, buttons=[], elem_id="chat"
                )
                question = gr.Textbox(label="Question", value="What is this?", elem_id="question")
                ask = gr.Button("Ask", variant="primary", elem_id="ask")
            with gr.Tab("Classify"):
                words = "Your labels, separated by commas"
                labels = gr.Textbox(label=words, value="brick, plate, wheel", elem_id="labels")
                classify = gr.Button("Classify", variant="primary", elem_id="classify")
                classes = gr.Label(label="Probabilities among your labels", elem_id="classes")
            with gr.Tab("Search"):
                text = gr.Textbox(label="Text", elem_id="text")
                with gr.Row():
                    by_text = gr.Button("Search by the text", variant="primary", elem_id="by_text")
                    by_object = gr.Button(
                        "Similar to the object", variant="primary", elem_id="by_object"
                    )
                found = gr.Gallery(
                    label="Found (click one to pick it)",
                    columns=4,
                    height=330,
                    object_fit="contain",
                    allow_preview=False,
                    elem_id="found",
                )
    pictures = [(item.picture, item.title) for item in service.items]
    picker = gr.Gallery(
        pictures,
        label="Pick an object",
        columns=8,
        height=360,
        object_fit="contain",
        allow_preview=False,
        visible=bool(pictures),
        elem_id="picker",
    )
    return _ObjectParts(
        view=view,
        notes=notes,
        upload=upload,
        up=up,
        describe=describe,
        caption=caption,
        chat=chat,
        question=question,
        ask=ask,
        labels=labels,
        classify=classify,
        classes=classes,
        text=text,
        by_text=by_text,
        by_object=by_object,
        found=found,
        picker=picker,
        numbers=gr.State([]),
    )


def _object_tab(
    service: Service, folder: Path, system: gr.Dropdown, table: gr.State
) -> dict[str, list[gr.Button]]:
    """Lay out the object tab and connect its events; returns the buttons of each ability."""
    parts = _object_parts(service)

    def shown(new: Table) -> list[Any]:
        return [new, _write(folder, cloud_glb(new.object.points)), _described(new.object), [], ""]

    def dropped(path: str | None, axis: str) -> list[Any]:
        return shown(service.place(path, axis)) if path else [gr.skip()] * 5

    def picked(event: gr.SelectData) -> list[Any]:
        return [*shown(service.pick(int(event.index))), None]

    def picked_found(own: list[int], event: gr.SelectData) -> list[Any]:
        return [*shown(service.pick(own[int(event.index)])), None]

    def asked(name: str, own: Table | None, typed: str) -> list[Any]:
        new = service.ask(name, own, typed)
        return [new, [message for turn in new.turns for message in _messages(*turn)], ""]

    def searched(name: str, query: Table | str | None) -> list[Any]:
        rows = service.search(name, query)
        titled = [(service.items[k], score) for k, score in rows]
        cards = [(item.picture, f"{score:.2f} {item.title}") for item, score in titled]
        return [cards, [k for k, _ in rows]]

    placed = [table, parts.view, parts.notes, parts.chat, parts.caption]
    # Without `show_progress_on` every output would have a sign of waiting, and of an error.
    reading = _READING | {"show_progress_on": parts.view}
    for event in (parts.upload.upload, parts.up.change):
        failed = event(reported(dropped), [parts.upload, parts.up], placed, **reading).failure
        failed(
            lambda: [None, None, NO_OBJECT, [], "", None], None, [*placed, parts.upload], **_PRIVATE
        )
    parts.picker.select(reported(picked), None, [*placed, parts.upload], **reading)
    parts.found.select(reported(picked_found), parts.numbers, [*placed, parts.upload], **reading)
    parts.chat.clear(lambda shown: shown and replace(shown, turns=()), table, table, **_PRIVATE)
    parts.describe.click(reported(service.caption), [system, table], parts.caption, **_MODEL)
    gr.on(
        [parts.ask.click, parts.question.submit],
        reported(asked),
        [system, table, parts.question],
        [table, parts.chat, parts.question],
        **_MODEL,
    )
    gr.on(
        [parts.classify.click, parts.labels.submit],
        reported(service.classify),
        [system, table, parts.labels],
        parts.classes,
        **_MODEL,
    )
    gr.on(
        [parts.by_text.click, parts.text.submit],
        reported(searched),
        [system, parts.text],
        [parts.found, parts.numbers],
        **_MODEL,
    )
    parts.by_object.click(
        reported(searched), [system, table], [parts.found, parts.numbers], **_MODEL
    )
    return {
        "caption": [parts.describe],
        "ask": [parts.ask],
        "classify": [parts.classify],
        "retrieve": [parts.by_text, parts.by_object],
    }


def _room_tab(service: Service, system: gr.Dropdown) -> gr.Button:
    """Lay out a room and its labels; returns the button."""
    room = gr.State(None, time_to_live=12 * _HOUR)
    with gr.Row():
        upload = gr.File(label="Drop a room, in metres", height=140, elem_id="room")
        up = gr.Radio(list(CHOICES), value="auto", label="Axis that is up")
        words = gr.Textbox(
            label="Your words, separated by commas (empty: the labels of training)",
            elem_id="words",
        )
    notes = gr.Markdown(elem_id="room_notes")
    segment = gr.Button("Label the points", variant="primary", elem_id="segment")
    result = gr.HTML(elem_classes="room", elem_id="result")
    shares = gr.Label(label="Shares of the points", elem_id="shares")

    def dropped(path: str | None, axis: str) -> list[Any]:
        if path is None:
            return [None, ""]
        new = service.room(path, axis)
        return [new, _described(new)]

    def labelled(name: str, own: Object | None, typed: str) -> list[Any]:
        new = service.segment(name, own, typed)
        # A document of its own: the page's scripts and styles do not meet the demo's.
        frame = f'<iframe title="Labelled room" srcdoc="{escape(new.page)}"></iframe>'
        return [frame, new.shares]

    for event in (upload.change, up.change):
        event(reported(dropped), [upload, up], [room, notes], **_READING).failure(
            lambda: [None, None, ""], None, [upload, room, notes], **_PRIVATE
        )
    segment.click(reported(labelled), [system, room, words], [result, shares], **_MODEL)
    return segment


def reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with errors of ours as messages of the page."""

    @functools.wraps(function)
    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except PointLanguageError as error:
            lines = "<br>".join(escape(" ".join(line.split())) for line in str(error).split("\n"))
            raise gr.Error(lines, duration=30, print_exception=False) from error

    return call


def _messages(question: str, answer: str) -> list[dict[str, str]]:
    """Return one turn of the chat; escaped, because gradio shows a text as HTML."""
    turn = {"user": question, "assistant": answer}
    return [{"role": role, "content": escape(text, quote=False)} for role, text in turn.items()]


def _described(new: Object) -> str:
    size = " × ".join(f"{edge:.3g}" for edge in new.size)
    parts = [new.name, f"{len(new.xyz):,} points", f"size {size}"]
    parts += [note.replace("; --up sets it", "") for note in new.notes]
    return " · ".join(f"`{part.replace('`', '')}`" for part in parts)  # code: no markup of a name


def _write(folder: Path, content: bytes) -> str:
    """Write a .glb, of which gradio makes a copy that it removes later; few are kept."""
    path = folder / f"{hashlib.sha256(content).hexdigest()[:20]}.glb"
    replace_file(path, content)
    newest = sorted(folder.glob("*.glb"), key=lambda other: -other.stat().st_mtime_ns)
    for old in newest[_WAITING * 2 :]:
        old.unlink(missing_ok=True)
    return str(path)
