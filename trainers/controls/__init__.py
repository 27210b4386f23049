"""What guides a step: the guide, or the control that replaces it."""
