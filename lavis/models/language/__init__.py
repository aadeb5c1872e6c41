"""Language models of transformers: prefix and prompt, losses, generation."""
