"""The shell: one small module a command, imported only when its command is chosen."""
