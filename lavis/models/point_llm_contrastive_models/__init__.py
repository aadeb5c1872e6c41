"""PointLLM-Contrastive: frozen point tokens are projected among a language model's embeddings."""
