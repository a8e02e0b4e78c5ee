"""Adapters for providers: each turns every outcome of a request into a reply or a failure; none decides what to do next."""
