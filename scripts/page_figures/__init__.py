"""The figures of pages, by subject: each function makes the text of the block that has its name."""
