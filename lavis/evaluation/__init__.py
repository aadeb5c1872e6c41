"""Metrics as pure functions, trivial baselines and the schema of result files.

    captioning      BLEU, ROUGE-L, CIDEr-D, distinct-n from {id: caption} and {id: references}
    retrieval       recall@k, ranks and mAP with several positives, streamed over query tokens
    qa              answer normalisation, exact match and refined exact match per question family
    classification  top-k, class-mean accuracy, per-class table, confusion counts
    alignment       distances, cosines and nearest texts of two sets of embeddings, paired changes
    intervals       seeded bootstrap intervals and the paired comparison of two runs
    baselines       what a model has to beat: chance, most frequent, nearest neighbour, random text
    records         metrics.json: schema and id checks; provenance: atomic strict JSON, hashes
    tables          the README's results table, generated from docs/results/*.json

Nothing here imports torch, transformers or LAVIS: anyone can score a predictions file with it.
Scores between 0 and 1 are stored as fractions; only `tables` shows them times 100.
"""
