"""Conditions: frozen definitions of training runs, and the content ids that follow from them."""
