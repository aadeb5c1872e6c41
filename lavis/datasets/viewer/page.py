"""Parts of pages that show clouds: the script, the style, and a policy that forbids all else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

_HERE = Path(__file__).parent


def style_and_script() -> tuple[str, str]:
    """Return style.css and viewer.js."""
    return (
        (_HERE / "style.css").read_text(encoding="utf-8"),
        (_HERE / "viewer.js").read_text(encoding="utf-8"),
    )


def content_policy(style: str, script: str | None = None) -> str:
    """Return the content security policy of a page that has these two and loads nothing."""
    scripts = _hash(script) if script is not None else "'none'"
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {scripts}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def canvas(object_id: str, text: str) -> str:
    """Return the element that shows a cloud.

    Args:
        object_id: of an encoded cloud.
        text: description of the object for screen readers.
    """
    name = escape(object_id)
    return (
        f'<canvas class="cloud" data-cloud="{name}" tabindex="0" role="img" title="object {name}" '
        f'aria-label="Rotatable point cloud of object {name}: {escape(text)}"></canvas>'
    )


def as_script(clouds: Mapping[str, object]) -> str:
    """Return encoded clouds as JSON that cannot end the script element."""
    return json.dumps(clouds, sort_keys=True).replace("<", "\\u003c")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
