"""RoleGPT, Context-Instruct and profiles: a character's training rows out of a text."""
