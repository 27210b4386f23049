"""What all tests share: MLflow keeps quiet, and sends nothing anywhere."""

from __future__ import annotations

import os

# Set before MLflow is imported, here and in the processes that tests start.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
