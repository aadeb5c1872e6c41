"""HTML of the example sections. Every text that comes from a file goes through `html.escape`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from lavis.datasets.viewer.page import canvas
from lavis.evaluation.formatting import format_value
from lavis.evaluation.report.clouds import CloudCollection
from lavis.evaluation.report.examples import (
    FOUND_WITHIN,
    caption_examples,
    classification_examples,
    qa_examples,
    retrieval_examples,
)
from lavis.evaluation.report.run_folder import TaskResult
from lavis.evaluation.scenes.pictures import picture_clouds, picture_html

N_CAPTIONS, N_TEXTS, N_OBJECTS, N_CLASSIFIED, SHOWN = 12, 6, 8, 8, 5


def example_sections(results: Sequence[TaskResult], clouds: CloudCollection, seed: int) -> str:
    """Sections of all tasks that a run holds."""
    makers: dict[str, Callable[[TaskResult, CloudCollection, int], str]] = {
        "captioning": captioning_section,
        "retrieval": retrieval_section,
        "qa": qa_section,
        "classification": classification_section,
    }
    return "\n".join(
        makers.get(result.kind.folder, scene_section)(result, clouds, seed) for result in results
    )


def captioning_section(result: TaskResult, clouds: CloudCollection, seed: int) -> str:
    """Objects with the human and the generated caption."""
    cards = [
        card(
            viewer(clouds, entry["image_id"], entry["2d_caption"]),
            pair("Human", entry["2d_caption"]) + pair("Model", entry["caption"], strong=True),
            f"CIDEr {format_value('cider', cider)} · {third}",
        )
        for entry, cider, third in caption_examples(result.predictions, N_CAPTIONS, seed)
    ]
    chosen = (
        f"{len(cards)} of {len(result.predictions)} objects, drawn at random in equal parts from "
        "the best, middle and worst third by CIDEr."
    )
    return section("captions", "Captions", chosen, grid(cards))


def retrieval_section(result: TaskResult, clouds: CloudCollection, seed: int) -> str:
    """Text queries with their best objects, then objects with their best texts."""
    entries = result.predictions
    captions = {entry["instance_id"]: entry["caption"] for entry in entries}
    by_text = retrieval_examples(entries, "text_to_object_rank", N_TEXTS, seed)
    by_object = retrieval_examples(entries, "object_to_text_rank", N_OBJECTS, seed + 1)
    found = f"where possible half have a right answer among the first {FOUND_WITHIN}, half do not"
    chosen = (
        f"{len(by_text)} texts and {len(by_object)} objects of {len(entries)}, drawn at random; "
        f"{found}. Equal captions are equally right."
    )
    content = "<h3>From a text to objects</h3>"
    content += "".join(text_query(entry, captions, clouds) for entry in by_text)
    content += "<h3>From an object to texts</h3>"
    content += grid([object_query(entry, clouds) for entry in by_object])
    return section("retrieval", "Retrieval", chosen, content)


def text_query(entry: dict[str, Any], captions: dict[str, str], clouds: CloudCollection) -> str:
    """A query with its five best objects, and the right one behind them when it is not there."""
    shown = entry["top_objects"][:SHOWN]
    items = []
    for place, object_id in enumerate(shown, start=1):
        caption = captions.get(object_id, "")
        right = caption == entry["caption"]
        items.append(ranked(clouds, object_id, caption, str(place), right))
    if not any(captions.get(object_id) == entry["caption"] for object_id in shown):
        rank = f"rank {entry['text_to_object_rank']}"
        items.append(ranked(clouds, entry["instance_id"], entry["caption"], rank, True, apart=True))
    listed = "".join(items)
    return (
        f'<article class="query"><p class="text">“{escape(entry["caption"])}”</p>'
        f'<ol class="ranking">{listed}</ol></article>'
    )


def ranked(
    clouds: CloudCollection,
    object_id: str,
    caption: str,
    rank: str,
    right: bool,
    apart: bool = False,
) -> str:
    """One retrieved object."""
    classes = ("right" if right else "wrong") + (" apart" if apart else "")
    place = f"right object, {rank}" if apart else f"{rank} {mark(right)}"
    return (
        f'<li class="{classes}">{viewer(clouds, object_id, caption)}'
        f'<p class="place">{place}</p><p class="small">{escape(caption)}</p></li>'
    )


def object_query(entry: dict[str, Any], clouds: CloudCollection) -> str:
    """An object with its five best texts."""
    texts = entry["top_captions"][:SHOWN]
    rows = [marked_text(text, text == entry["caption"]) for text in texts]
    if entry["caption"] not in texts:
        rank = entry["object_to_text_rank"]
        rows.append(f'<li class="right apart">{escape(entry["caption"])} (right, rank {rank})</li>')
    cloud = viewer(clouds, entry["instance_id"], entry["caption"])
    return card(cloud, f'<ol class="texts">{"".join(rows)}</ol>')


def qa_section(result: TaskResult, clouds: CloudCollection, seed: int) -> str:
    """Questions with the model's answer and, where it is wrong, the right one."""
    cards = []
    for entry in qa_examples(result.predictions, seed):
        right = bool(entry["correct"])
        answer = f'<p class="answer">{mark(right)} {text_or_empty(entry["prediction"])}</p>'
        if not right:
            answer += f'<p class="small">right: {escape(entry["answer"])}</p>'
        question = f'<p class="question">{escape(entry["question"])}</p>'
        cloud = viewer(clouds, entry["object_id"], f"object {entry['object_id']}")
        cards.append(card(cloud, question + answer, entry["family"].replace("_", " ")))
    chosen = (
        f"{len(cards)} of {len(result.predictions)} questions: of each family one right and one "
        "wrong answer, drawn at random, where there are such."
    )
    return section("questions", "Questions and answers", chosen, grid(cards))


def classification_section(result: TaskResult, clouds: CloudCollection, seed: int) -> str:
    """Objects with the five best classes."""
    cards = []
    for entry in classification_examples(result.predictions, N_CLASSIFIED, seed):
        rows = [marked_text(name, name == entry["label"]) for name in entry["top_5"]]
        if entry["label"] not in entry["top_5"]:
            rows.append(f'<li class="right apart">{escape(entry["label"])} (right)</li>')
        cloud = viewer(clouds, entry["instance_id"], f"an object of class {entry['label']}")
        cards.append(card(cloud, f'<ol class="texts">{"".join(rows)}</ol>'))
    chosen = (
        f"{len(cards)} of {len(result.predictions)} objects, drawn at random: where possible half "
        "classified rightly, half wrongly. Class labels are not used in training: the object is "
        f"compared with the class names. {_class_note(result)}"
    )
    return section("classes", result.title, chosen, grid(cards))


def scene_section(result: TaskResult, clouds: CloudCollection, seed: int) -> str:
    """Scenes with true and predicted labels, masks or boxes, as the evaluation drew them."""
    pictures = result.pictures
    clouds.encoded |= picture_clouds(pictures, result.kind.folder)
    chosen = (
        f"{len(pictures)} of {len(result.predictions)} scenes or sentences, evenly from the split "
        "regardless of score. Walls are thinned out."
    )
    content = "".join(picture_html(picture, result.kind.folder) for picture in pictures)
    return section(result.kind.folder, result.title, chosen, content)


def _class_note(result: TaskResult) -> str:
    """Return whether the texts of training name the classes."""
    if result.record["extra"].get("protocol") == "zero_shot":
        return "No training text names one of these classes."
    return "Texts seen in training name the classes."


def section(anchor: str, title: str, chosen: str, content: str) -> str:
    """Return a titled section with the selection rule of its examples."""
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{title}</h2>'
        f'<p class="chosen">{escape(chosen)}</p>{content}</section>'
    )


def grid(cards: Sequence[str]) -> str:
    """Cards side by side, as many as fit."""
    return f'<div class="grid">{"".join(cards)}</div>'


def card(cloud: str, body: str, tag: str = "") -> str:
    """A cloud with text below it."""
    label = f'<p class="tag">{escape(tag)}</p>' if tag else ""
    return f'<article class="card">{cloud}<div class="body">{label}{body}</div></article>'


def viewer(clouds: CloudCollection, object_id: Any, description: str) -> str:
    """Return a rotatable cloud, or a box with a note that there is none."""
    if not clouds.add(str(object_id)):
        return f'<div class="cloud none">no point cloud for object {escape(str(object_id))}</div>'
    return canvas(str(object_id), str(description))


def pair(name: str, text: str, strong: bool = False) -> str:
    """A named text."""
    kind = "text strong" if strong else "text"
    return f'<p class="{kind}"><span class="who">{name}</span> {text_or_empty(text)}</p>'


def marked_text(text: str, right: bool) -> str:
    """An item of a ranking, marked when it is right."""
    end = f" {mark(True)}" if right else ""
    return f'<li class="{"right" if right else "wrong"}">{escape(text)}{end}</li>'


def mark(right: bool) -> str:
    """Tick or cross that a screen reader reads as a word."""
    sign, word, kind = ("✓", "right", "yes") if right else ("✗", "wrong", "no")
    return f'<span class="{kind}" role="img" aria-label="{word}">{sign}</span>'


def text_or_empty(text: str) -> str:
    """Escaped text, or a note that there is none."""
    return escape(text) if text.strip() else '<em class="small">(empty)</em>'
