"""What stands in the list's place while there is no run to show."""

from __future__ import annotations

from app.widgets.parts import Card, button, label, row


class NoRuns(Card):
    """Says why there is nothing, and offers to begin where that helps."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.text = label("", "headline"), label("", "empty")
        self.new_run = button("New run", "primary")
        self.column.addStretch(2)
        for part in (self.title, self.text, self.new_run):
            self.column.addLayout(row(None, part, None))
            self.column.addSpacing(6)
        self.column.addStretch(3)

    def explain(self, *, is_loaded: bool, trouble: str) -> None:
        """``trouble`` is why the runs could not be read, for people."""
        if is_loaded:
            self.title.setText("No runs yet")
            self.text.setText("Pick a model and a dataset, and press Start training.")
        else:
            self.title.setText("No connection to the engine" if trouble else "Reading runs…")
            self.text.setText(trouble)
        self.new_run.setVisible(is_loaded)
