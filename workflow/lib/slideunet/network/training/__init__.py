"""Training and validation of a model, and the choice of its decoding."""
