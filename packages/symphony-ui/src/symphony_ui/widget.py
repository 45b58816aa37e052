"""The page in a notebook: one widget a view, all of one state; needs a kernel."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony_ui.errors import SymphonyError

if TYPE_CHECKING:
    from symphony_ui.page import Page

CHUNK = 2_000_000
STATIC = Path(__file__).parent / "static"


@cache
def widget_class() -> type[Any]:
    """The widget's class; anywidget is imported here and nowhere else."""
    import anywidget
    import traitlets

    class SymphonyPage(anywidget.AnyWidget):
        _esm = STATIC / "symphony.js"
        _css = STATIC / "symphony.css"
        _spec = traitlets.Unicode("{}").tag(sync=True)
        _state = traitlets.Unicode("{}").tag(sync=True, echo_update=False)

    return SymphonyPage


class View:
    """A page, or one component of it, to be shown in a cell.

    Args:
        page: whose state it shows and changes.
        id: of a component; None is the whole page.
    """

    def __init__(self, page: "Page", id: str | None) -> None:
        self.page = page
        self.id = id
        if id is not None:
            page.spec("widget", id)  # says so if there is no such component

    @property
    def widget(self) -> Any:
        """The widget, one for all the cells that show this view."""
        if self.id not in self.page._widgets:
            self.page._widgets[self.id] = _Bridge(self.page, self.id).widget
        return self.page._widgets[self.id]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.widget._repr_mimebundle_(**kwargs)

    def _display_(self) -> Any:
        return self.widget


class _Bridge:
    """Between a widget and its page."""

    def __init__(self, page: "Page", id: str | None) -> None:
        self.page = page
        self._heard: tuple[Any, Any] | None = None  # of the change that this view just sent
        self._saying = False
        spec = page.spec("widget", id)
        self.widget = widget_class()(
            _spec=json.dumps(spec, allow_nan=False),
            _state=json.dumps(page.session.message(), allow_nan=False),
        )
        self.widget.observe(self._from_view, names="_state")
        self.widget.on_msg(self._asked)
        page.session.listen(self._to_view)

    def _from_view(self, change: Any) -> None:
        """A state that a browser sent."""
        if self._saying:
            return
        try:
            message = json.loads(change["new"])
            if isinstance(message, dict):
                self._heard = message.get("origin"), message.get("seq")
            self.page.session.receive(message)
        except (ValueError, RecursionError):
            pass  # the view shows what is wrong with its state; Python keeps the last good one
        finally:
            self._heard = None

    def _to_view(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "annotations":
            self.widget.send({"annotations": message})
            return
        if self._heard == (message["origin"], message["seq"]):  # its browsers have it already
            return
        self._saying = True
        try:
            self.widget._state = json.dumps(message, allow_nan=False)
        finally:
            self._saying = False

    def _asked(self, widget: Any, content: Any, buffers: Any) -> None:
        """A block, answers to queries, or annotations."""
        if not isinstance(content, dict):
            return
        try:
            if "annotations" in content:
                self.page.session.annotate(content["annotations"])
            elif content.get("get") == "block":
                self._send_block(str(content.get("name")), content.get("id"))
            elif "query" in content:
                results = self.page.answer(content.get("state"), content["query"])
                self.widget.send({"results": results, "id": content.get("id")})
        except SymphonyError as error:
            self.widget.send({"error": str(error), "id": content.get("id")})

    def _send_block(self, name: str, id: Any) -> None:
        """A block in parts, since hosts limit the size of a message."""
        block = memoryview(self.page.block(name))
        count = max(1, -(-len(block) // CHUNK))
        for index in range(count):
            part = bytes(block[index * CHUNK : (index + 1) * CHUNK])
            self.widget.send({"block": name, "id": id, "index": index, "count": count}, [part])
