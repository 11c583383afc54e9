"""The Hydra tree: values only."""
