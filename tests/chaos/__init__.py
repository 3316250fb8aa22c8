"""Chaos: everything is killed at random while results come in, and every one is counted once.

`make chaos` runs it, `python -m tests.chaos --help` says how.

    plan      what is sent, made from a seed, and what the figures have to be in the end
    client    the processes that send it, and write down what was answered
    ground    servers and processes, which are started again whenever they have died
    faults    what is done to them, and how long until a result is counted again
    verdict   what has to hold in the end
    run       from the first resident to the report
"""
