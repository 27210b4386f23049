"""`python -m study` is the command line `archprior`."""

from study.cli import main

main()
