"""Refuse to start on a missing or different salesforce-lavis, with the command that installs it."""

from importlib.metadata import PackageNotFoundError, version

REQUIRED_VERSION = "1.0.2"
INSTALL_COMMAND = "pip install --no-deps -r requirements-nodeps.txt"


def require_salesforce_lavis() -> None:
    """Check that exactly the version that our overlay was written against is installed.

    Raises:
        ImportError: when it is missing or another version.
    """
    try:
        installed = version("salesforce-lavis")
    except PackageNotFoundError:
        installed = None
    if installed != REQUIRED_VERSION:
        raise ImportError(
            f"this project layers over salesforce-lavis=={REQUIRED_VERSION}, found {installed}; "
            f"run: {INSTALL_COMMAND}"
        )
