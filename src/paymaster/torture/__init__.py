"""The torture tests: real workers on one budget, a provider that fails and lies, many faults, and a verdict measured at the provider."""
