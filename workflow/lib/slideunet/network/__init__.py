"""The U-Net: its training and its exact tiled prediction. The only package that imports torch."""
