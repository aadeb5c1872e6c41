"""Classes of what is in a room, by the head noun of a furniture model's name.

`SEEN` are the labels of training. Only rooms of the split held_out contain objects of `HELD_OUT`:
no training room holds one, so open-vocabulary segmentation can be measured on them.
"""

from __future__ import annotations

import re

WALL_LABEL, FLOOR_LABEL = "wall", "floor"
# What a frame's segment image holds: 0 is nothing, the objects of the room follow.
WALL_SEGMENT, FLOOR_SEGMENT, FIRST_SEGMENT = 1, 2, 3
BRICK = "building block"  # parts of the bricks, enlarged

# The first pattern that matches a whole name decides; names that match none are not used.
_RULES: tuple[tuple[str, str], ...] = (
    ("coffee table", r"coffee table"),
    ("cabinet", r"bedside table|tv stand|television cabinet"),
    ("tv", r"(wall flat )?tv( 16:9)?"),
    ("desk", r".*\bdesk( table)?"),
    ("bed", r"(child |iron |captain's |day |hospital |bunk )?bed"),
    ("sofa", r".*\b(sofa|couch)( \d seats)?|.*convertible sofa bz"),
    ("armchair", r".*\barmchair"),
    ("stool", r"(bar )?stool|puff|piano bench|armchair ottoman"),
    ("chair", r".*\bchair( with cushion)?|class seat"),
    ("table", r".*\btable( with tablecloth| on trestles)?"),
    ("wardrobe", r"wardrobe|cupboard"),
    ("bookcase", r"(full )?bookcase|(vertical )?shelves"),
    ("washbasin", r"sink( cabinet)?"),
    ("cabinet", r".*\bcabinet|dresser with drawers|chest|safe"),
    ("lamp", r"(desk |little |wall |pedestal vase )?lamp|wall light|japanese lantern"),
    ("plant", r".*\bplant|tulips|cactus|orchids|bamboo|yucca|white lily|flowers|ficus|bonsai tree"),
    ("radiator", r"radiator"),
    ("refrigerator", r"refrigerator|(large )?fridge|chest freezer"),
    ("oven", r"(double |small )?oven|(large )?stove|cooker|microwave"),
    ("washing machine", r"(clothes )?washing machine|dryer machine"),
    ("toilet", r"toilets unit|bidet|urinal"),
    ("washbasin", r"washbasin|(double )?vanity|small lavatory"),
    ("bath", r"(island )?bath|corner bathtub|shower stall"),
    ("rug", r"oriental rug|round carpet|bathmat|doormat|tatami"),
    ("computer", r"laptop|apple i(book|mac)( \d+)?|screen"),
    ("vase", r"vase|pottery|old jar"),
    ("box", r"box|(open )?cardboard box|crate|letter tray|shopping basket|clothes basket"),
    ("bin", r"dustbin|bullet trash can|recycling bin"),
    ("book", r"book|newspaper"),
    ("radio", r"radio|speaker|mini stereo|stereo amplifier|mp3 (station|base)|dvd player"),
    ("bottle", r".*\bbottle|milk|flacon"),
    (
        "tableware",
        r".*\b(cup|glass|mug|bowl|plate|pan|teapot|creamer|sugar|kettle|tray|blender|toaster|mixer)",
    ),
    ("tableware", r"plate, .*|bowl with .*|coffee (maker|brewer|press|machine)|utensils pot"),
    ("food", r"apples|bread|butter|hamburger|hot dog|cup cake|birthday cake|roasted chicken|steak"),
    ("toy", r"teddy bear|rocking horse|wood toy|toy train|doll( house)?|biplane|car model|puzzle"),
    ("toy", r"xylophone|rubik's cube|tricycle|basketball|soccer ball"),
    ("door", r"(exterior |screen |glass |double )?door|double door with panes"),
    ("window", r".*\bwindow( with large pane| \d panes| small panes)?"),
    ("piano", r"(grand|upright) piano"),
    ("guitar", r"electric guitar"),
    ("aquarium", r"aquarium"),
    ("fireplace", r"fireplace"),
    ("suitcase", r"suitcase|backpack|briefcase|trunck|handbag"),
    ("animal", r"(siamese )?cat|(bull)?dog|rabbit|chicken"),
    ("exercise machine", r"treadmill|indoor bike|abdominal bench|fitness tower"),
    ("wheelchair", r"wheelchair"),
    ("ladder", r"(small )?step ladder"),
)
_PATTERNS = [(label, re.compile(pattern)) for label, pattern in _RULES]

HELD_OUT = (
    *("animal", "aquarium", "exercise machine", "fireplace", "guitar", "ladder", "piano"),
    *("suitcase", "wheelchair"),
)
SEEN = (
    WALL_LABEL,
    FLOOR_LABEL,
    *sorted({label for label, _ in _RULES} - set(HELD_OUT)),
    BRICK,
)
STRUCTURE = (WALL_LABEL, FLOOR_LABEL)  # surfaces without instances


def class_of(name: str) -> str | None:
    """Return the class of a furniture model by its name; None: it is not used in rooms."""
    lowered = name.strip().lower()
    for label, pattern in _PATTERNS:
        if pattern.fullmatch(lowered):
            return label
    return None
