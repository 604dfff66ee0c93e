"""Pages that people look at: a run, a sweep or a perf log as one HTML file, or as Markdown.

`run_page`, `sweep_page` and `log_page` say what is on a page in the words of `content`; `html` and `markdown` render
it.
"""
