"""What a task needs of the data, declared per task and checked before the model is built.

class PointClassificationTask(PointTask):
    data_needs = DataNeeds(classes=True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lavis.common.errors import DataError
from lavis.datasets.datasets.record_texts import is_missing

CLASSES_FIX = (
    "give every record a category and the data set its class names (bricks: classes.json), or "
    "choose another run.task"
)


@dataclass(frozen=True)
class DataNeeds:
    """What every evaluated split has to have.

    Attributes:
        fields: of every record.
        classes: the data set has class names, and every record a category among them.
    """

    fields: tuple[str, ...] = ()
    classes: bool = False

    def check(self, dataset: Any, where: str) -> None:
        """Refuse a split that lacks something; data without records are not checked.

        Args:
            where: the key that names the split, and the split's name, for the message.

        Raises:
            DataError: names the split, the field and the first records without it.
        """
        records = records_of(dataset)
        for name in self.fields:
            _refuse([r for r in records if is_missing(r.get(name))], records, name, where)
        if not (self.classes and records):
            return
        names = {str(name).lower() for name in getattr(dataset, "class_names", ())}
        if not names:
            what = "the data set has no class names, and the task scores classes"
            got, expected = f"{len(records)} records, 0 classes", "class names and a category each"
            raise DataError(what, where=where, got=got, expected=expected, fix=CLASSES_FIX)
        known = [str(record.get("category", "")).lower() in names for record in records]
        without = [record for record, is_known in zip(records, known) if not is_known]
        _refuse(without, records, "category", where, CLASSES_FIX)


def records_of(dataset: Any) -> list[dict[str, Any]]:
    """Return a split's records; none of data that have no records."""
    return getattr(dataset, "annotation", None) or []


def _refuse(
    without: list[dict[str, Any]], records: Any, name: str, where: str, fix: str | None = None
) -> None:
    if not without:
        return
    ids = [str(r.get("instance_id", r.get("object_id"))) for r in without[:5]]
    raise DataError(
        f"{len(without)} of {len(records)} records lack the {name} that the task needs",
        where=f"{where}: {ids}",
        got=f"{name}: {without[0].get(name)!r}",
        expected=f"a {name} in every record",
        fix=fix or "add the field to the annotation file, or choose another run.task",
    )
