"""RoCIT: training a role's LoRA adapter."""
