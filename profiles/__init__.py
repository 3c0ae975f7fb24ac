"""The bundled roles: one commented .toml each, data only."""
