"""llama.cpp in this process: prompts, decoding, sampling, adapters, KV snapshots, batches."""
