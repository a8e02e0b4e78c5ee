"""A simulated provider for tests, demos and rehearsals: answers from a script, in process or over real HTTP. It runs no model."""
