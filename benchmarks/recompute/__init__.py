"""Independent recomputation of published figures: no code of the package, other means.

    python -m benchmarks.recompute output/demo                          # every run below a folder
    python -m benchmarks.recompute output/demo --results docs/results   # and the published tables
    python -m benchmarks.recompute output/demo --differences            # only rows that differ

    runs.py          prediction, item and metrics files of a run; the prepared data
    words.py         tokenizer, normaliser of answers, cleaning of texts, from their documentation
    resampling.py    bootstrap intervals, paired differences, p-values, Holm: vectorised
    captions.py, answers.py, classes.py, retrieval.py
                     scores of a task from its predictions and annotations
    from_items.py    scores, intervals and comparisons from the per-item files
    features.py      boxes, histograms and small clouds from the packed arrays
    neighbours.py    nearest training objects
    *_rules.py       baselines re-implemented from their definitions, on the full training split
    learners.py, sentences.py
                     forests, tf-idf, naive Bayes; MiniLM
    ledger.py        published beside recomputed, and what is not recomputed
    published.py     records of docs/results beside their runs
    tables.py        tables of README.md and docs/results.md, cell by cell
    study.py         record and tables of the alignment study
    cut.py           the small subset of the tests

Nothing here imports `lavis`; a test reads the imports.
"""
