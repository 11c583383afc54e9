"""Verbs of ``robodistill-run`` that are more than a print: one module each, its docstring is its help."""
