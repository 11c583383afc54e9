"""A second file for other people's runtimes: each module writes what one of them reads."""
