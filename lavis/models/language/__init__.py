"""Language models of transformers: what is exact for which of them."""
