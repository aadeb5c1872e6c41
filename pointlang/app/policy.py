"""The content security policy of the page: the browser itself refuses every other host.

gradio's scripts name a few hosts for features that the page does not use (environment maps,
decoders of compressed meshes). The header holds for whatever a later version adds, too.
"""

from __future__ import annotations

from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Scripts inline: gradio's page has its configuration so. Evaluation and blobs: Babylon.js.
POLICY = "; ".join(
    [
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "object-src 'none'",
    ]
)


class PolicyHeader:
    """Adds the policy to every answer.

    Args:
        app: that answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    *message.get("headers", ()),
                    (b"content-security-policy", POLICY.encode()),
                ]
                message = message | {"headers": headers}
            await send(message)

        await self.app(scope, receive, with_policy)


def middleware() -> list[Any]:
    """Return what FastAPI puts before its routes."""
    return [Middleware(PolicyHeader)]
