"""Open Clip Art: public-domain pictures; a file name is the title, its folder the category.

Titles end with a cut author's name and a number ("cigni_bianchi_architetto_frances_01"). Frequent
authors are taken off; of rare ones a piece may stay. Icons of desktops and stars of every kind are
left out: their names do not describe the picture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lavis.datasets.download_scripts.archives import archive_files
from lavis.datasets.download_scripts.media.items import Item, fitted_png
from lavis.datasets.download_scripts.packages import Package
from lavis.datasets.readers.files import DAMAGE

PACKAGE = Package(
    *("debian", "openclipart-png", "1:0.18+dfsg-19"),
    "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    *(131, "public domain"),
)
_ROOT = "usr/share/openclipart/png/"
FOLDERS = (
    *("animals", "buildings", "containers", "decorations", "education", "electronics", "food"),
    *("geography", "office", "people", "plants", "recreation", "science", "tools"),
    *("transportation", "signs_and_symbols"),
)
_AUTHORS = re.compile(
    r"_+(architetto|nicu(_bu?c?|$)|jarno_v|benji_?|jon_ph|gerald_?g|yves_g|1m_bw|dan_ger|juliane_|"
    r"jean-?_?vic|linda_k|ganson|luiz_a|rollandin|fudriot|jonathan_d|meza|dave_p|mauro_|nicolas_|"
    r"susan_p|cedric_b|yen_ch|petri_l|lumen_d|brice_b|anthony_l|costea|aj_a|jk_r|peterm|navy_h|"
    r"nathan_e|karl_iv|alex_k|orlando|rory|frederic_m|dirk_s|andrew_f|francesco_r|bw$|none$|h_gre|"
    r"victor_b|cisco_n|map_ele).*$"
)


def clip_art_items(path: Path, dropped: Counter[str]) -> Iterator[Item]:
    """Yield the pictures with a title of letters.

    Args:
        path: of the package.
        dropped: gets the number left out per reason.
    """
    seen: Counter[str] = Counter()
    for name, content in archive_files(path, _is_wanted):
        relative = PurePosixPath(name.removeprefix(_ROOT))
        title = title_of(relative.stem)
        if title is None:
            dropped["clip art without a title"] += 1
            continue
        try:
            picture = fitted_png(content)
        except DAMAGE as error:
            dropped[
                f"clip art: {'too large' if 'pixels' in str(error) else 'damaged or empty'}"
            ] += 1
            continue
        category = relative.parent.name.replace("_", " ").replace("-", " ")
        key = f"art_{relative.with_suffix('').as_posix().replace('/', '.')}"
        seen[key] += 1
        yield Item(key, (title, f"{title}, {category}"), category, PACKAGE.name, picture)


def _is_wanted(name: str) -> bool:
    below = name.removeprefix(_ROOT)
    return below != name and below.endswith(".png") and below.split("/")[0] in FOLDERS


def title_of(stem: str) -> str | None:
    """Return the title in a file's name; None: no word of three letters is left."""
    name = re.sub(r"[_\-]*\d*_*$", "", stem.replace(" ", "_").lower())
    name = re.sub(r"[_\-]+", " ", _AUTHORS.sub("", name))
    title = re.sub(r"\s+", " ", re.sub(r"\d+$", "", name)).strip()
    return title if re.search(r"[^\W\d_]{3}", title) else None
