"""Metrics as pure functions, trivial baselines and the schema of result files.

    captioning      BLEU, ROUGE-L, CIDEr-D, distinct-n from {id: caption} and {id: references}
                    (ngrams, rouge, tokenization; coco_scorer: pycocoevalcap;
                    java_metrics: METEOR, SPICE, Stanford tokenizer)
    retrieval       recall@k, ranks and mAP with several positives, streamed over query tokens
    search          best k of a large gallery: blocked exact, or int8 codes with exact rescoring
    qa              answer normalisation, exact match and refined exact match per question family
    qa_protocols    ScanQA and LEO scores in their own answer_styles; multiple choice by likelihood
    classification  top-k, class-mean accuracy, per-class table, confusion counts
                    (prompt_sets, probes, confusion_picture, closed_set: words to classes)
    corruptions     jitter, dropout, rotation, single view, noise, fewer points, five severities
    controls        box shell, shuffled clouds, wrong or no size, no colour, blank cloud
                    (altered_splits: copies of a split with another point store)
    pointllm        PointLLM's prompts, files and sentence_metrics; sentence_encoders
    judge           a language model as judge through any OpenAI-compatible endpoint, cached
    alignment       distances, cosines and nearest texts of two sets of embeddings, paired changes
    intervals       seeded bootstrap intervals and the paired comparison of two runs
    comparisons     a run's claims against its baselines, item by item
    multiple_tests  Holm's correction and the verdict: above, level, below
    seeds           mean and standard deviation over training seeds
    test_final      the lock and the log of the test-final split
    baselines       lookups: chance, most frequent, nearest neighbour, forests, tf-idf, random text
    blind           a question answerer that uses the question alone
    records         metrics.json: schema and id checks; provenance: atomic strict JSON, hashes
    run_records     the runs of a table: names, controls, data versions, marks (claims: verdicts)
    tables          summary_table (README.md) and full_tables (docs/results.md), generated from
                    docs/results; formatting: scale and decimals

search uses torch; sentence_encoders uses torch and transformers. The other metrics use numpy, but
importing the package `lavis` loads torch. docs/evaluation.md defines every number with its source.
Scores between 0 and 1 are stored as fractions; only tables show them times 100.
"""
