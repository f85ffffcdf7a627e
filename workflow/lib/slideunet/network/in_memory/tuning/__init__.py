"""Constants of a model, chosen by the mean score over sources."""
