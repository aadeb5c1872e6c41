"""Our generated Markdown as one self-contained page: headings, tables, lists, paragraphs, bold.

Blocks are separated by blank lines; every text is escaped.
"""

from __future__ import annotations

from html import escape

from lavis.datasets.viewer.page import content_policy, style_and_script


def html_page(title: str, text: str) -> str:
    """Return a page that loads nothing; see the module for what Markdown it reads."""
    style, _ = style_and_script()
    body = "\n".join(_html_block(block) for block in text.strip().split("\n\n"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _html_block(block: str) -> str:
    """A heading, a list, a table or a paragraph."""
    if block.startswith("#"):
        level = len(block) - len(block.lstrip("#"))
        return f"<h{level}>{escape(block.lstrip('# '))}</h{level}>"
    if block.startswith("- "):
        items = "".join(f"<li>{_inline(line[2:])}</li>" for line in block.split("\n"))
        return f"<ul>{items}</ul>"
    if not block.startswith("|"):
        return f"<p>{_inline(block)}</p>"
    header, rule, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")
    ]
    right = [cell.endswith(":") for cell in rule]
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(_data(cell, number) for cell, number in zip(row, right)) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'


def _data(cell: str, number: bool) -> str:
    return f'<td class="number">{_inline(cell)}</td>' if number else f"<td>{_inline(cell)}</td>"


def _inline(text: str) -> str:
    parts = escape(text).split("**")
    return "".join(f"<b>{part}</b>" if k % 2 else part for k, part in enumerate(parts))
