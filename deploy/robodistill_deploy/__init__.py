"""The contract between training and robot, and the torch-free runtime."""
