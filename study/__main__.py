"""`python -m study` is the command line `archprior`."""

from study.cli.app import main

main()
