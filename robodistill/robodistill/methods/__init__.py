"""Methods: one small module each, with the equations that the phases in ``method/<name>.yaml`` name."""
