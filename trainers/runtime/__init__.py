"""What a process runs on, and what makes a run repeat its bits: devices, precision, streams."""
