"""Backends that are not the local engine: the scripted one that tests and demos use."""
