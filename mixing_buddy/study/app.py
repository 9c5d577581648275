"""The pages of a study as a Gradio application: consent, listening check, ratings or codes.

Every answer goes to the `Store` when it is given. What the browser sends with it names the
page that it was given on, so that a late or doubled click can't land on the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from mixing_buddy.study import pages
from mixing_buddy.study.material import Study
from mixing_buddy.study.questions import COMMENT, Consent, Question, Questionnaire
from mixing_buddy.study.store import ANNOTATOR, RATER, Store, new_code

#: Longest comment that is taken, in characters.
MAX_COMMENT = 2000

#: How many annotators code the answers: agreement is between two.
NUM_ANNOTATORS = 2

_LOST = "The connection was lost; nothing that you answered was. Enter your code to go on."
_SCROLL_UP = "() => { window.scrollTo({top: 0}); }"
_NOT_IN_API = {"api_visibility": "private"}

Updates = dict[Any, Any]


class StudyApp:
    """Builds the pages, and answers what happens on them.

    Args:
        study: what is heard and rated.
        store: where answers go.
        role: `RATER` or `ANNOTATOR`.
        questionnaire: what is asked of each answer, and about the participant.
        consent: what raters agree to first; annotators are colleagues and see none.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        role: str,
        questionnaire: Questionnaire,
        consent: Consent | None,
    ) -> None:
        self._study = study
        self._store = store
        self._role = role
        self._asked = questionnaire
        self._consent = consent

    def build(self) -> gr.Blocks:
        """Make the pages."""
        with gr.Blocks(title="Listening study", analytics_enabled=False) as blocks:
            self.participant = gr.State(None)
            # Travels with every click, unlike a state, which may have moved on by then.
            self.position = gr.Textbox("0", visible=False)
            self.message = gr.HTML()
            self.sections: dict[str, gr.Column] = {}
            for name, fill in (
                ("start", self._fill_start if self._role == RATER else self._fill_annotators),
                ("declined", lambda: gr.HTML(pages.declined_html())),
                ("code", self._fill_code),
                ("background", self._fill_background),
                ("abx", self._fill_abx),
                ("pages", self._fill_pages),
                ("done", lambda: gr.HTML(pages.done_html(self._role))),
                ("withdrawn", lambda: gr.HTML(pages.withdrawn_html())),
            ):
                with gr.Column(visible=name == "start") as self.sections[name]:
                    fill()
            with gr.Column(visible=False) as self.leaving:
                self._fill_leaving()
            self._wire()
        return blocks.queue(default_concurrency_limit=8)

    def _fill_start(self) -> None:
        gr.HTML(pages.consent_html(self._consent))
        with gr.Row():
            self.agree = gr.Button("I agree and take part", variant="primary")
            self.decline = gr.Button("I do not take part")
        with gr.Accordion("I have a code already", open=False):
            self.old_code = gr.Textbox(label="Your code", placeholder="ABCD-2345", max_length=20)
            self.come_back = gr.Button("Go on where I stopped")

    def _fill_annotators(self) -> None:
        gr.HTML(pages.annotators_html())
        with gr.Row():
            self.annotators = [
                gr.Button(f"I am annotator {number + 1}", variant="primary")
                for number in range(NUM_ANNOTATORS)
            ]

    def _fill_code(self) -> None:
        self.code = gr.HTML()
        self.noted = gr.Button("I have written it down", variant="primary")

    def _fill_background(self) -> None:
        gr.HTML(pages.background_html())
        self.background = [
            gr.Radio(list(question.choices), label=question.text)
            for question in self._asked.background
        ]
        self.background_next = gr.Button("Continue", variant="primary")

    def _fill_abx(self) -> None:
        self.trial = gr.HTML()
        with gr.Row():
            self.x_is = {x: gr.Button(f"X is {x.upper()}", variant="primary") for x in "ab"}

    def _fill_pages(self) -> None:
        self.page = gr.HTML()
        self.ratings = [_radio(question) for question in self._asked.questions]
        self.comment = gr.Textbox(label=self._asked.comment, lines=2, max_length=MAX_COMMENT)
        self.page_message = gr.HTML()
        self.page_next = gr.Button("Save and continue", variant="primary")

    def _fill_leaving(self) -> None:
        with gr.Accordion("Pause or leave", open=False):
            gr.HTML(pages.pause_html())
            self.sure = gr.Checkbox(label="Yes, delete everything that I answered")
            self.delete = gr.Button("Leave and delete my answers", variant="stop")

    @property
    def _everything(self) -> list[Any]:
        """All that a step from one page to the next may change."""
        return [
            self.participant, self.position, self.message, *self.sections.values(), self.leaving,
            self.code, self.trial, self.page, *self.ratings, self.comment, self.page_message,
        ]  # fmt: skip

    def _wire(self) -> None:
        """Connect every button with what it does."""

        def step(button: gr.Button, do: Callable, inputs: list[Any], name: str) -> None:
            button.click(do, inputs, self._everything, api_name=name, show_progress="hidden").then(
                None, js=_SCROLL_UP, **_NOT_IN_API
            )

        here = [self.participant, self.position]
        if self._role == RATER:
            step(self.agree, self._agree, [], "agree")
            step(self.decline, self._decline, [], "decline")
            step(self.come_back, self._come_back, [self.old_code], "come_back")
        else:
            for number, button in enumerate(self.annotators, start=1):
                step(button, partial(self._annotate_as, number), [], f"annotator_{number}")
        step(self.noted, self._show, [self.participant], "begin")
        step(
            self.background_next,
            self._save_background,
            [self.participant, *self.background],
            "background",
        )
        for x, button in self.x_is.items():
            step(button, partial(self._save_trial, x), here, f"x_is_{x}")
        for question, radio in zip(self._asked.questions, self.ratings, strict=True):
            radio.input(
                partial(self._save_answer, question), [*here, radio], None,
                api_name=f"rate_{question.name}", show_progress="hidden",
            )  # fmt: skip
        self.comment.blur(
            self._save_comment, [*here, self.comment], None,
            api_name="comment", show_progress="hidden",
        )  # fmt: skip
        step(self.page_next, self._finish_page, [*here, *self.ratings, self.comment], "finish_page")
        step(self.delete, self._withdraw, [self.participant, self.sure], "withdraw")

    def _agree(self) -> Updates:
        code = new_code()
        number = self._store.join(RATER, code, consent=self._consent.version)
        return {
            self.participant: number,
            self.code: pages.code_html(code),
            **self._turn_to("code"),
        }

    def _decline(self) -> Updates:
        return self._turn_to("declined")

    def _come_back(self, code: str) -> Updates:
        number = self._store.find(RATER, code)
        if number is None:
            return self._turn_to("start", "There is no such code. Look at it once more, please.")
        return {self.participant: number, **self._show(number)}

    def _annotate_as(self, number: int) -> Updates:
        name = f"annotator {number}"
        found = self._store.find(ANNOTATOR, name)
        if found is None:
            found = self._store.join(ANNOTATOR, name)
        return {self.participant: found, **self._show(found)}

    def _show(self, number: int | None) -> Updates:
        """Turn to what is due."""
        if number is None:
            return self._turn_to("start", _LOST)
        names = tuple(question.name for question in self._asked.background)
        progress = self._store.progress(number, names)
        updates = {
            **self._turn_to(progress.phase),
            self.position: str(progress.position),
            self.code: "",
        }
        if progress.phase == "abx":
            pair = self._study.pair_by_name[progress.due["pair"]]
            updates[self.trial] = pages.trial_html(
                pair, progress.due["x"], progress.position, progress.total
            )
        if progress.phase == "pages":
            item = self._study.item_by_name[progress.due["item"]]
            updates[self.page] = pages.rating_html(
                item,
                progress.due["system"],
                progress.due["label"],
                progress.position,
                progress.total,
            )
            for question, radio in zip(self._asked.questions, self.ratings, strict=True):
                updates[radio] = gr.Radio(value=progress.answers.get(question.name))
            updates[self.comment] = progress.answers.get(COMMENT, "")
        return updates

    def _turn_to(self, section: str, message: str = "") -> Updates:
        inside = section in ("background", "abx", "pages", "done") and self._role == RATER
        return {
            **{
                column: gr.Column(visible=name == section) for name, column in self.sections.items()
            },
            self.leaving: gr.Column(visible=inside),
            self.message: pages.message_html(message),
            self.page_message: "",
        }

    def _save_background(self, number: int | None, *values: str | None) -> Updates:
        if number is None:
            return self._show(None)
        given = list(zip(self._asked.background, values, strict=True))
        for question, value in given:
            if value in question.choices:
                self._store.save_background(number, question.name, value)
        if any(value not in question.choices for question, value in given):
            return self._turn_to("background", "Please answer all questions.")
        return self._show(number)

    def _save_trial(self, x: str, number: int | None, position: str) -> Updates:
        if number is not None and position.isdecimal():
            self._store.save_trial(number, int(position), x)
        return self._show(number)

    def _save_answer(
        self, question: Question, number: int | None, position: str, value: str | None
    ) -> None:
        if number is not None and position.isdecimal() and value in question.choices:
            self._store.save_answer(number, int(position), question.name, value)

    def _save_comment(self, number: int | None, position: str, text: str) -> None:
        if number is not None and position.isdecimal():
            self._store.save_comment(number, int(position), text.strip()[:MAX_COMMENT])

    def _finish_page(self, number: int | None, position: str, *values: str) -> Updates:
        if number is None or not position.isdecimal():
            return self._show(None)
        # Saved once more: a click on an answer may still be on its way.
        *ratings, comment = values
        given = dict(zip(self._asked.questions, ratings, strict=True))
        for question, value in given.items():
            self._save_answer(question, number, position, value)
        self._save_comment(number, position, comment or "")
        missing = [q for q, value in given.items() if value not in q.choices]
        if missing:
            text = f"Please answer this too: {missing[0].text}"
            return {self.page_message: pages.message_html(text)}
        self._store.finish_page(number, int(position))
        return self._show(number)

    def _withdraw(self, number: int | None, sure: bool) -> Updates:
        if number is None:
            return self._show(None)
        if not sure:
            return {self.message: pages.message_html("Tick the box first to delete your answers.")}
        self._store.withdraw(number)
        return {self.participant: None, **self._turn_to("withdrawn")}


def _radio(question: Question) -> gr.Radio:
    first, last = question.choices[0], question.choices[-1]
    return gr.Radio(
        list(question.choices),
        label=question.text,
        info=f"{first} = {question.low} · {last} = {question.high}",
        elem_classes="mb-scale",
    )
