"""The U-Net, its encoders and its model folder."""
