"""Who to be: the role format, the role library, and lookup by any name a person would use."""
