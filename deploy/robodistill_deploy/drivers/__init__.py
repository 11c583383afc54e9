"""Drivers: one module a robot link, each with a class that fulfils ``base.Driver``."""
