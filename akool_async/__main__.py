"""`python -m akool_async` is the command line."""

from akool_async.cli import main

if __name__ == "__main__":
    main()
