"""Compare policies on the same seeds: rollouts, intervals, probes of the latent."""
