"""How a chat template is written, checked before anything heavy is imported.

jinja2 comes with torch and transformers. Where it is missing nothing is said: the worker, which
cannot render without it either, looks again, and at more than this.
"""

from __future__ import annotations

from functools import lru_cache

REMEDY = "Mend the file there, or choose another template."


@lru_cache(maxsize=4)
def mistake_in(text: str) -> str:
    """What keeps a template from being read, with its line; empty if nothing does."""
    try:
        from jinja2 import Environment, TemplateSyntaxError, nodes
        from jinja2.ext import Extension
        from jinja2.parser import Parser
    except ImportError:
        return ""

    class Generation(Extension):
        """The marks that transformers adds to the language."""

        tags = {"generation"}  # noqa: RUF012 (as jinja2 has it)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = Environment(extensions=[Generation, "jinja2.ext.loopcontrols"])
    try:
        environment.compile(text, raw=True)
    except TemplateSyntaxError as error:
        return f"Line {error.lineno}: {error.message}"
    except RecursionError:
        return "Its brackets and blocks are too deep in one another."
    return ""
