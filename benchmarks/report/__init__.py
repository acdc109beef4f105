"""The result for people: tables in Markdown, plots in SVG, and the page docs/performance.md that holds them."""
