"""SWE-agent under a registry. Nothing here is imported before SWE-agent is requested."""
