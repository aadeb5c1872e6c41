"""The built-in furniture: catalogue, model files, texts and clouds (prepare_furniture.py)."""
