"""Where events go: JSON lines, the log, Prometheus, OpenTelemetry; listens to the flow and never decides anything."""
