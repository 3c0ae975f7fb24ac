"""From a base model and an adapter to one verified GGUF file."""
