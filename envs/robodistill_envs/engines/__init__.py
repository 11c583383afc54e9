"""Physics backends for N worlds behind one contract."""
