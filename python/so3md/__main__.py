"""`python -m so3md` is the same as the command `so3md`."""

from so3md.cli import main

main(prog_name="so3md")
