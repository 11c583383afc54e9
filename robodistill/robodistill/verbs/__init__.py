"""The verbs of the command line: each module is one, and its docstring is what ``--help`` shows.

A verb that needs a configuration has ``run(config: RunConfig)``, one that reads plain words ``run_words(words)``; with
both, it reads words when the first one is no ``key=value``.
Both return the exit code, or anything else for 0. Importing a verb may import torch; reading its help does not.
"""
