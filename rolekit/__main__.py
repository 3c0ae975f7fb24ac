"""`python -m rolekit` is the same as `rolekit`."""

from rolekit.cli import main

if __name__ == "__main__":
    main()
