"""The U-Net: architecture, training patches, training, and exact tiled prediction."""
