"""What an evaluation can say of a student beyond its return: where it differs, and why it could not do better."""
