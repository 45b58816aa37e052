"""The runtime of Vega charts, of the extra [vega]; it goes into the page and fetches nothing."""

from functools import cache

from symphony_ui.analysis._checks import extra

SNIPPET = """
globalThis.symphonyVega = {
  embed: (element, spec) => vegaEmbed(element, spec, {
    ast: true, actions: false, defaultStyle: false, renderer: "svg",
    tooltip: { disableDefaultStyle: true },
    loader: { load: () => Promise.reject(new Error("a page fetches nothing")) },
  }),
};
"""


@cache
def runtime() -> str:
    """A JavaScript module whose default export is ``{embed}``.

    Raises:
        ExtraError: if the extra is not installed.
    """
    bundle = extra("vl_convert", "Vega", "vega").javascript_bundle(SNIPPET)
    return f"{bundle}\nexport default globalThis.symphonyVega;\n"
