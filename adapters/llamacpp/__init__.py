"""Serves GGUF models on this machine with llama.cpp (`xllamacpp`), as an OpenAI-compatible endpoint on loopback."""
