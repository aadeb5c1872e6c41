"""Tables of texts: five formats, and files that are damaged or in another encoding."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from lavis.common.errors import ConfigError, DataError, DependencyError
from lavis.datasets.convert.tables import read_table

ROWS = [
    {"id": "a", "caption": "ein Stühlchen, rot"},
    {"id": "b", "caption": 'a "table"\nwith legs'},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'id,caption\r\na,"ein Stühlchen, rot"\r\nb,"a ""table""\nwith legs"\r\n\r\n'),
        ("b.csv", 'id;caption\na;ein Stühlchen, rot\nb;"a ""table""\nwith legs"\n'),
        ("a.tsv", 'id\tcaption\na\tein Stühlchen, rot\nb\t"a ""table""\nwith legs"\n'),
        ("a.json", json.dumps(ROWS)),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_rows_are_equal_in_every_format(tmp_path: Path, name, text, encoding) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    assert read_table(path) == ROWS


def test_a_mapping_of_texts_or_records_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": "x", "b": ["y", "z"], "c": {"caption": "w", "class": "k"}}')
    assert read_table(path) == [
        {"object_id": "a", "caption": "x"},
        {"object_id": "b", "caption": ["y", "z"]},
        {"object_id": "c", "caption": "w", "class": "k"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,caption\na,caf\xe9\n", "line 2 is not UTF-8.*cp1252"),
        ("a.csv", b"id,caption\na,x,y\n", "line 2 has 3 cells, 2 columns"),
        ("a.csv", b"id,caption\na\n", "line 2 has 1 cells"),
        ("a.csv", b'id,caption\na,"x\n', "unexpected end"),
        ("a.csv", b"id,caption\na,x\0\n", "line 2 has a NUL"),
        ("a.csv", b"id,id\na,b\n", "columns of one name"),
        ("a.csv", b"id,caption\n", "no rows"),
        ("a.csv", b"", "no rows"),
        ("a.json", b'[{"id": "a", "id": "b"}]', "twice"),
        ("a.json", b'{"a": "\\ud83d"}', "surrogate"),
        ("a.json", b'["a", "b"]', "no list of records"),
        ("a.json", b"[" * 100_000, "nested|Expecting"),
        ("a.jsonl", b'{"id": "a"}\n{"id": \n', "line 2"),
        ("a.jsonl", b'{"id": "a"}\n["b"]\n', "line 2"),
        ("a.xlsx", b"PK", ".xlsx file"),
        ("a.jsonl", b'{"id": "a", "n": NaN}', "finite"),
    ],
)
def test_damaged_tables_are_named_with_the_place(tmp_path: Path, name, content, message) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}(.|\n)*({message})"):
        read_table(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv"):
        read_table(tmp_path / "no.csv")


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("id,caption\na,café\n".encode("cp1252"))
    assert read_table(path, "cp1252") == [{"id": "a", "caption": "café"}]
    with pytest.raises(ConfigError, match="--encoding"):
        read_table(path, "cp9999")


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DependencyError, match=r"requirements-parquet\.txt(.|\n)*\.csv"):
        read_table(path)


def test_parquet_is_read_as_the_other_tables_are(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="Arrow"):
        read_table(path)
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    assert read_table(path) == ROWS
    several = [{"object_id": "a", "caption": ["a cup", "a red cup"], "count": 2}]
    parquet.write_table(pa.Table.from_pylist(several), path)
    assert read_table(path) == several
    parquet.write_table(pa.table({"caption": pa.array([], pa.string())}), path)
    with pytest.raises(DataError, match="no rows"):
        read_table(path)
    parquet.write_table(pa.table({"caption": pa.array([b"\xff"], pa.binary())}), path)
    with pytest.raises(DataError, match="bytes"):
        read_table(path)
