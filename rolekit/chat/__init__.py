"""Conversations: the message tree, its store, what the context keeps, and the session that joins them."""
