"""Pages: one file each, that opens from a disk or a mail and asks the network for nothing.

`cards` shows where chosen features look, context by context; `feature_table` all features of a run, to sort and filter;
`clusters` decoder directions in two dimensions against entropy. Token text is hostile: `text` makes it visible,
`rendering` escapes it and lets the page run no script but its own.
"""
