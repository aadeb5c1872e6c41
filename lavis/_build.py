"""Build backend of `pip install -e .`: the link of _link.py and the command `pointlang`.

A wheel of a package named lavis would overwrite salesforce-lavis, and the path line of an ordinary
editable install comes after site-packages. So the editable wheel holds the .pth line of _link.py
(any folder then imports this checkout), and the script `pointlang`. No code is copied.
"""

import base64
import hashlib
import runpy
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME, VERSION = "pointlang", "0.1.0"
TAG = "py3-none-any"
INFO = f"{NAME}-{VERSION}.dist-info"


def requirements() -> list[str]:
    """Return requirements.txt; what needs --no-deps (requirements-nodeps.txt) cannot be here."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line[:1].isalnum()]


def metadata() -> str:
    """Return METADATA."""
    head = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {VERSION}"]
    head += ["Summary: Point clouds and language", "Requires-Python: >=3.11"]
    return "\n".join([*head, *(f"Requires-Dist: {one}" for one in requirements()), ""])


def get_requires_for_build_editable(config_settings=None):
    """Nothing but Python is needed."""
    return []


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Write the editable wheel; returns its name (PEP 660)."""
    link = runpy.run_path(str(ROOT / "lavis" / "_link.py"))
    files = {
        link["FILE"]: link["link_line"](ROOT),
        f"{INFO}/METADATA": metadata(),
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {TAG}\n",
        f"{INFO}/entry_points.txt": f"[console_scripts]\n{NAME} = {NAME}.__main__:main\n",
    }
    files[f"{INFO}/RECORD"] = "".join(
        [*(_recorded(name, content) for name, content in files.items()), f"{INFO}/RECORD,,\n"]
    )
    wheel = f"{NAME}-{VERSION}-{TAG}.whl"
    with zipfile.ZipFile(Path(wheel_directory, wheel), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def _recorded(name: str, content: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=")
    return f"{name},sha256={digest.decode()},{len(content.encode())}\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Refuse: there is only the editable install."""
    raise SystemExit("A wheel would overwrite salesforce-lavis. Install with: pip install -e .")


def build_sdist(sdist_directory, config_settings=None):
    """Refuse: the repository is the source."""
    raise SystemExit("Clone the repository instead, and install with: pip install -e .")
