"""The tokenizer: read from a model's files, written as llama.cpp wants it, and proved to split text the same way."""
