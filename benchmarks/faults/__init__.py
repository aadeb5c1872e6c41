"""Faults that the reliability figures inject; one module for each group of figures."""

# {figure: module of this package that has `fig<number>(folder, quick)`}
FIGURES = {
    **dict.fromkeys((1, 2, 8), "resuming"),
    **dict.fromkeys((3, 4, 5), "saving"),
    **dict.fromkeys((6, 7), "signals"),
    **dict.fromkeys((9, 10), "bad_values"),
    **dict.fromkeys((11,), "hostile"),
    **dict.fromkeys((12,), "mutations"),
    **dict.fromkeys((13, 14), "repeatable"),
    **dict.fromkeys((15,), "endurance"),
    **dict.fromkeys((16,), "newest"),
    **dict.fromkeys((17,), "weight_folders"),
    **dict.fromkeys((18,), "judge_keys"),
    **dict.fromkeys((19,), "other_keys"),
    **dict.fromkeys((20,), "launches"),
    **dict.fromkeys((21,), "silent_changes"),
    **dict.fromkeys((22,), "full_disk"),
    **dict.fromkeys((23,), "hostile_values"),
    **dict.fromkeys((24,), "environments"),
    **dict.fromkeys((25,), "phases"),
    **dict.fromkeys((26,), "two_machines"),
}
