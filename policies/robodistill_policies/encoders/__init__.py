"""Encoders: observation groups in, latent out; one kind a file, named in configurations by its path."""
