"""The frozen teacher of a student, and its features on disk."""
