"""Compile numeric functions with numba, and keep the result on disk where that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like `numba.njit(cache=True, **options)`.

    numba raises a bare RuntimeError at import where neither the code's folder nor the user's cache
    folder can be written (another uid without HOME). There the function is compiled at each start.
    """
    import numba  # half a second, which a GPU run never pays

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            logging.debug("%s is compiled at each start: %s", function.__name__, error)
            return numba.njit(**options)(function)

    return decorate
