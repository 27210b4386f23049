"""The rules that a spec expects of its study, and what came out beside them."""
