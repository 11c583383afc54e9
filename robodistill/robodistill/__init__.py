"""Training, distillation, evaluation, export, report, command line."""
