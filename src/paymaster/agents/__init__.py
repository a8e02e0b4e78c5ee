"""Runs coding agents with their models under a registry. Nothing here is imported before its agent is."""
