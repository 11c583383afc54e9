"""Networks: encoders, heads, normaliser, policies."""
