"""Terms: pure functions of signals or of a World, named in YAML as ``robodistill_envs.terms.<module>:<function>``."""
