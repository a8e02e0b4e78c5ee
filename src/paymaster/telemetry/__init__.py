"""Listeners for events: JSON lines, the log, Prometheus, OpenTelemetry; none decides anything about a call."""
