"""What single methods need beyond the common parts: losses, hooks and networks, a module each."""
