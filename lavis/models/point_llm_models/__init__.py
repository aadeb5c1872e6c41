"""Point-LLM: a language model that reads a vector of the joint space, whatever it is of."""
