"""From the sample sheet and the configuration to checked, batched and split slides."""
