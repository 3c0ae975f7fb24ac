"""Lorebooks: what a world knows, told to the model when somebody speaks of it."""
