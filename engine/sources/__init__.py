"""Where samples come from. One file per kind of source: a `Store` says how the data lie, its `Source` reads them."""
