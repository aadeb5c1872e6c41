"""The Q-Former: layers, the model, initialisation from BERT."""
