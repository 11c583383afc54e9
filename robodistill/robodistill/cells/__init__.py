"""A benchmark of methods, cell by cell: a cell is a method on a task with a seed."""
