"""What one trial does: guided training of one network, in plain PyTorch."""
