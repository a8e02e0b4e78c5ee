"""LiteLLM's config.yaml as a registry: its fields, its names of providers, and what each becomes here."""
