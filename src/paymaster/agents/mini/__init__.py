"""mini-swe-agent under a registry. Nothing here is imported before mini-swe-agent is requested."""
