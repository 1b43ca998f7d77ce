"""Why steps are or become slow: from steps and telemetry to findings. Pure, incremental."""
