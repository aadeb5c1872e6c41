"""Runners by name. A new runner is one new file and one import line below."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

from lavis.runners import runner  # noqa: F401
