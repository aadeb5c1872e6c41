"""Archives of packages: what is read, and what is refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts import archives
from lavis.datasets.download_scripts.archives import archive_files


def tar_bytes(files: dict[str, bytes], mode: str = "w:xz", link: str | None = None) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
        if link is not None:
            entry = tarfile.TarInfo("link.txt")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    return content.getvalue()


def deb_bytes(files: dict[str, bytes]) -> bytes:
    """Return a .deb with the three members that Debian's have."""
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar_bytes(files)}
    content = b"!<arch>\n"
    for name, data in parts.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content


def zip_bytes(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


FILES = {"usr/share/a.txt": b"first", "usr/share/b.png": b"second"}


@pytest.mark.parametrize(
    "content",
    [
        deb_bytes({f"./{n}": c for n, c in FILES.items()}),
        tar_bytes(FILES, "w:gz"),
        zip_bytes(FILES),
    ],
    ids=["deb", "tgz", "zip"],
)
def test_files_are_read_in_order_and_chosen_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(content)
    assert dict(archive_files(path)) == FILES
    assert list(archive_files(content, lambda n: n.endswith(".png"))) == [
        ("usr/share/b.png", b"second")
    ]


@pytest.mark.parametrize("make", [deb_bytes, tar_bytes, zip_bytes])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt"])
def test_a_name_that_leads_out_is_refused(make, name: str) -> None:
    with pytest.raises(DataError, match="leads out"):
        list(archive_files(make({name: b"x"})))


def test_links_are_passed_over() -> None:
    assert dict(archive_files(tar_bytes(FILES, link="/etc/passwd"))) == FILES
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert not list(archive_files(content.getvalue()))


@pytest.mark.parametrize("make", [deb_bytes, tar_bytes, zip_bytes])
def test_a_file_that_unpacks_to_more_than_the_limit_is_refused(make, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to 100,000 bytes"):
        list(archive_files(make({"bomb": bytes(100_000)})))


@pytest.mark.parametrize("make", [deb_bytes, tar_bytes, zip_bytes])
def test_a_damaged_archive_is_named(make, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(make({"a": bytes(range(256)) * 50})[:-60])
    with pytest.raises(DataError, match="cut"):
        list(archive_files(path))
