"""The addresses of the page, who may ask for them, and what each answers."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qs

import pydicom
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import dicomnode
from dicomnode import events
from dicomnode.config import FIT_METHODS, PUBLISHED_CALIBRATIONS
from dicomnode.control import chart, rows, scanner
from dicomnode.errors import InputError, NodeError
from dicomnode.jobs import comparison
from dicomnode.operate import removal, requests, status
from dicomnode.store.job import Job
from dicomnode.web import alarms, charts, passwords, picture, story, timeline, words
from dicomnode.web.guard import SafeHeaders
from dicomnode.web.process import certificates
from dicomnode.web.search import Search
from dicomnode.web.sessions import Attempts, Session, Sessions
from dicomnode.web.shelf import RUNNING, UNDER_WAY, name_of, uid_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from dicomnode.config import Settings
    from dicomnode.operate.status import Study
    from dicomnode.store.spool import Spool
    from dicomnode.web.metrics import Metrics
    from dicomnode.web.shelf import Shelf

    Handler = Callable[["Asked"], Response]

_HERE = Path(__file__).parent
_LONGEST_FORM = 10_000  # bytes
_ROWS = 50  # studies on a page
_LATEST = 8  # results on the overview
_THUMBNAIL = 480  # pixels
_KEY = re.compile(r"[0-9a-f]{8,64}")
_ACTIONS: dict[str, status.Action] = {name: name for name in get_args(status.Action)}
_RENEWAL = "x-renewal"  # a header of a page that renews itself
_OLD = "The page that you came from is old. Go back, load it again, and repeat it."
_MAY_NOT = "Your account may look and not act. Ask whoever looks after the node."
_LONGEST_REASON = 200
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True, slots=True)
class Site:
    """What the page is of."""

    settings: Settings
    spool: Spool
    shelf: Shelf
    metrics: Metrics
    say: events.Sink


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a browser: whose, and with which form."""

    request: Request
    session: Session
    form: dict[str, str]

    @property
    def peer(self) -> str:
        """From where it came."""
        return "" if self.request.client is None else self.request.client.host


def application(site: Site) -> Starlette:
    """The whole page of a node."""
    pages = _Pages(site)
    looks, anybody = pages.answer, pages.answer_anybody
    routes = [
        Route("/", looks(pages.overview)),
        Route("/studies", looks(pages.studies)),
        Route("/studies", looks(pages.search), methods=["POST"]),
        Route("/study/{name}", looks(pages.study)),
        Route("/study/{name}", looks(pages.act), methods=["POST"]),
        Route("/study/{name}/delete", looks(pages.deletion)),
        Route("/study/{name}/delete", looks(pages.delete), methods=["POST"]),
        Route("/picture/{key}/{number:int}", looks(pages.picture)),
        Route("/quality", looks(pages.quality)),
        Route("/quality.csv", looks(pages.quality_table)),
        Route("/quality/{name}.csv", looks(pages.quality_table)),
        Route("/quality/{name}", looks(pages.scanner)),
        Route("/difference/{key}", looks(pages.difference)),
        Route("/login", anybody(pages.login)),
        Route("/login", anybody(pages.log_in), methods=["POST"]),
        Route("/logout", anybody(pages.log_out), methods=["POST"]),
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/metrics", pages.metrics),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
    web = site.settings.web
    known = [web.host, *(_LOCAL if web.is_local else ()), *web.names] if web.is_local or web.names else ["*"]
    middleware = [
        Middleware(SafeHeaders, encrypted=pages.encrypted),
        Middleware(TrustedHostMiddleware, allowed_hosts=known, www_redirect=False),
    ]
    handlers: dict[Any, Any] = {HTTPException: pages.refused}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


class _Pages:
    """Every answer."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._web = site.settings.web
        self.encrypted = certificates(site.settings)[0] is not None
        self._cookie = "__Host-session" if self.encrypted else "session"
        everybody: tuple[Any, Any] = ("", "none") if self._web.users else ("this machine", "act")
        self._sessions = Sessions(self._web.session_minutes * 60.0, everybody)
        self._attempts = Attempts()
        self._templates = Environment(
            loader=PackageLoader("dicomnode.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._changeable = _changeable(site.settings)
        self._templates.globals.update(compared=comparison, timeline=timeline, changeable=self._changeable)
        self._templates.globals.update(words=words, name_of=name_of, uid_of=uid_of, version=dicomnode.__version__)

    # ---- who may ask

    def answer(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Answer whoever may look; others are asked who they are."""

        def known(asked: Asked) -> Response:
            if not asked.session.may_look:
                return RedirectResponse("/login", 303)
            return handler(asked)

        return self.answer_anybody(known)

    def answer_anybody(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Answer in a thread of its own; a form must be one that was given to the same session."""

        async def endpoint(request: Request) -> Response:
            clicked = _RENEWAL not in request.headers
            session = self._sessions.of(request.cookies.get(self._cookie, ""), clicked=clicked)
            form = await _form(request) if request.method == "POST" else {}
            if request.method == "POST" and not session.gave(form.get("form_token", "")):
                raise HTTPException(403, "This form is no longer good. Go back, load the page again, and repeat it.")
            try:
                response = await run_in_threadpool(handler, Asked(request, session, form))
            except HTTPException:
                raise
            except Exception as fault:  # noqa: BLE001  the edge of a request
                response = self._failed(Asked(request, session, form), fault)
            if self._cookie not in request.cookies and "set-cookie" not in response.headers:
                self._give(response, session)
            return response

        return endpoint

    def _give(self, response: Response, session: Session) -> None:
        response.set_cookie(
            self._cookie, session.token, path="/", secure=self.encrypted, httponly=True, samesite="strict"
        )

    def login(self, asked: Asked) -> Response:
        """The form to log in."""
        return self._page(asked, "login.html", problem="")

    def log_in(self, asked: Asked) -> Response:
        """Let in who knows the password; every trial that is refused costs time later."""
        name, peer = asked.form.get("name", "")[:64], asked.peer
        wait = self._attempts.wait_seconds(name, peer)
        if wait:
            self._site.say(events.LogInRefused("too many trials", peer))
            problem = f"Too many trials. Wait {words.span(wait)}."
            late = self._page(asked, "login.html", 429, problem=problem)
            late.headers["Retry-After"] = str(int(wait) + 1)
            return late
        user = passwords.find(self._web.users, name, asked.form.get("password", ""))
        if user is None:
            self._attempts.refused(name, peer)
            self._site.say(events.LogInRefused("name and password do not belong together", peer))
            return self._page(asked, "login.html", 403, problem="Name and password do not belong together.")
        self._sessions.end(asked.session)
        self._site.say(events.LoggedIn(user.name, peer))
        response = RedirectResponse("/", 303)
        self._give(response, self._sessions.begin(user.name, user.role))
        return response

    def log_out(self, asked: Asked) -> Response:
        """End a session."""
        self._sessions.end(asked.session)
        if asked.session.may_look:
            self._site.say(events.LoggedOut(asked.session.user, asked.peer))
        response = RedirectResponse("/", 303)
        response.delete_cookie(self._cookie, path="/", secure=self.encrypted, httponly=True, samesite="strict")
        return response

    # ---- what people see

    def overview(self, asked: Asked) -> Response:
        """What arrives, what runs, what came of it, what is wrong."""
        shelf = self._site.shelf
        studies = shelf.studies()
        entries = [(study, entry) for study in studies for entry in study.entries if entry["status"] in UNDER_WAY]
        ended = (study for study in studies if _leading(study)["key"] and _leading(study)["status"] not in UNDER_WAY)
        latest = [self._row(study) for study, _ in zip(ended, range(_LATEST), strict=False)]
        return self._page(
            asked,
            "overview.html",
            alarms=alarms.of(shelf),
            now=time.time(),
            arriving=[one for one in entries if one[1]["status"] == "waiting"],
            running=[one for one in entries if one[1]["status"] in RUNNING],
            latest=latest,
            figures=shelf.figures(),
            disk=shelf.disk(),
            certificates=shelf.certificates(),
            scanners=shelf.last_images(),
        )

    def studies(self, asked: Asked) -> Response:
        """The studies that are looked for, a page of them."""
        search = asked.session.search
        everything = self._site.shelf.studies()
        found = everything if search == Search() else [study for study in everything if search.finds(study)]
        last = max(1, -(-len(found) // _ROWS))
        number = min(max(1, _whole(asked.request.query_params.get("page", ""))), last)
        shown = [self._row(study) for study in found[(number - 1) * _ROWS : number * _ROWS]]
        codes = sorted({entry["code"] for study in everything for entry in study.entries if entry["code"]})
        count = len(found)
        pages = {"number": number, "last": last, "count": count, "all": len(everything)}
        note = self._note(asked)
        return self._page(asked, "studies.html", rows=shown, search=search, codes=codes, pages=pages, note=note)

    def search(self, asked: Asked) -> Response:
        """Remember what is looked for: an accession number has no place in an address."""
        search = Search() if "clear" in asked.form else Search.of(asked.form)
        self._sessions.keep(replace(asked.session, search=search))
        return RedirectResponse("/studies", 303)

    def study(self, asked: Asked) -> Response:
        """One study's whole story."""
        study = self._known(asked)
        if _RENEWAL not in asked.request.headers:
            self._site.say(events.StudyShown(uid_of(study), asked.session.user, asked.peer))
        patient = self._patient(study) if self._web.show_patient else None
        return self._page(
            asked,
            "study.html",
            study=study,
            leading=_leading(study),
            images=story.images(self._site.spool, study),
            chapters=story.chapters(self._site.spool, study),
            patient=patient,
            note=self._note(asked),
        )

    def _note(self, asked: Asked) -> str:
        """What is to be shown once."""
        if asked.session.note:
            self._sessions.keep(replace(asked.session, note=""))
        return asked.session.note

    def act(self, asked: Asked) -> Response:
        """Ask the node for something; it is done by the node itself, which writes down who asked.

        A new thing to ask for is a member of ``Action`` with its answer in jobs/recovery, and its form in actions.html.
        """
        if not asked.session.may_act:
            raise HTTPException(403, _MAY_NOT)
        study, what = self._known(asked), _ACTIONS.get(asked.form.get("what", ""))
        name = "key" if asked.form.get("key") else "group"
        entries = [entry for entry in study.entries if entry[name] and entry[name] == asked.form.get(name)]
        if what is None or not entries:
            raise HTTPException(400, _OLD)
        try:
            if what == "reprocess":
                self._reprocess(asked, entries[0])
            else:
                requests.ask(self._site.spool, what, entries, by=asked.session.user)
        except NodeError as fault:
            raise HTTPException(409, _sentence(fault)) from None
        self._sessions.keep(replace(asked.session, note=f"The node was asked: {what}. It begins within seconds."))
        return RedirectResponse(f"/study/{name_of(study)}", 303)

    def _reprocess(self, asked: Asked, entry: dict[str, Any]) -> None:
        """Ask for a result again where it can be made; raises InputError, ConfigError where it cannot."""
        changes = {name: asked.form[name] for name, _, _ in self._changeable if asked.form.get(name)}
        wanted = requests.Reprocess(entry["key"] or "", changes, asked.session.user, sends="sends" in asked.form)
        requests.check_reprocess(self._site.spool, self._site.settings, wanted)
        requests.ask_to_reprocess(self._site.spool, wanted)

    def deletion(self, asked: Asked) -> Response:
        """What would go with a study, and what would stay."""
        return self._deletion(asked, self._known(asked))

    def delete(self, asked: Asked) -> Response:
        """Ask the node to remove a study; without a reason the question is put again."""
        if not asked.session.may_act:
            raise HTTPException(403, _MAY_NOT)
        study, reason = self._known(asked), asked.form.get("reason", "")[:_LONGEST_REASON]
        undelivered = "undelivered" in asked.form
        try:
            removal.ask(self._site.spool, {uid_of(study)}, reason, undelivered=undelivered, by=asked.session.user)
        except InputError as fault:
            return self._deletion(asked, study, 400, reason=reason, problem=_sentence(fault))
        note = "The node was asked to delete a study. It is gone within seconds, unless it is needed."
        self._sessions.keep(replace(asked.session, note=note))
        return RedirectResponse("/studies", 303)

    def _deletion(self, asked: Asked, study: Study, code: int = 200, **said: str) -> Response:
        if not asked.session.may_act:
            raise HTTPException(403, _MAY_NOT)
        found = removal.of(self._site.spool, study.entries)
        shown = {"study": study, "leading": _leading(study), "removal": found}
        return self._page(asked, "delete.html", code, **{"reason": "", "problem": "", **said, **shown})

    def picture(self, asked: Asked) -> Response:
        """A page of a result."""
        key, number = asked.request.path_params["key"], asked.request.path_params["number"]
        width = _THUMBNAIL if "small" in asked.request.query_params else None
        job = self._site.spool.job(key) if _KEY.fullmatch(key) else None
        pages = [] if job is None else story.pictures(job)
        if job is None or number >= len(pages):
            raise HTTPException(404, "There is no such picture.")
        try:
            content = picture.read(job.folder / pages[number], width, names=self._web.show_patient)
        except FileNotFoundError:
            raise HTTPException(404, "The files of this result are no longer here.") from None
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})

    def quality(self, asked: Asked) -> Response:
        """Every scanner, and what its control charts say of its last scans."""
        found = [(one, scanner.standing(one)) for one in rows.read(self._site.spool.folder)]
        return self._page(asked, "quality.html", scanners=found)

    def scanner(self, asked: Asked) -> Response:
        """The control charts and the last exams of one scanner."""
        history = self._history(asked)
        phantoms = [
            (one, [(named, drawn) for named in one.charts if (drawn := charts.drawn(named)) is not None])
            for one in scanner.phantoms(history)
        ]
        return self._page(
            asked, "scanner.html", history=history, phantoms=phantoms, charts=charts, baseline=chart.BASELINE
        )

    def quality_table(self, asked: Asked) -> Response:
        """The rows of one scanner, or of all, as CSV."""
        named = "name" in asked.request.path_params
        found = [self._history(asked)] if named else rows.read(self._site.spool.folder)
        headers = {"Content-Disposition": 'attachment; filename="quality.csv"'}
        return Response(scanner.table(found), media_type="text/csv; charset=utf-8", headers=headers)

    def _history(self, asked: Asked) -> rows.History:
        history = rows.of(self._site.spool.folder, asked.request.path_params["name"])
        if history is None:
            raise HTTPException(404, "There is no such scanner.")
        return history

    def difference(self, asked: Asked) -> Response:
        """Where a result that was made again differs."""
        key = asked.request.path_params["key"]
        path = self._site.spool.job(key).folder / Job.DIFFERENCE
        if not _KEY.fullmatch(key) or not path.exists():
            raise HTTPException(404, "There is no such picture.")
        return Response(path.read_bytes(), media_type="image/png", headers={"Cache-Control": "private, max-age=600"})

    def _row(self, study: Study) -> dict[str, Any]:
        """A study in a list: where it stands, and its answer."""
        entry = _leading(study)
        summary = story.summary_of(self._site.spool, entry)
        return {"study": study, "entry": entry, "more": len(study.entries) - 1, "answer": (summary or {}).get("answer")}

    def _known(self, asked: Asked) -> Study:
        study = self._site.shelf.study(asked.request.path_params["name"])
        if study is None:
            raise HTTPException(404, "There is no such study.")
        return study

    def _patient(self, study: Study) -> str:
        """Name and identifier, from the first image that can be read."""
        for path in sorted((self._site.spool.incoming / uid_of(study)).glob("[0-9]*.dcm"))[:1]:
            known = pydicom.dcmread(path, specific_tags=["PatientName", "PatientID"], stop_before_pixels=True)
            name = str(known.get("PatientName", "")).split("=")[0].replace("^", " ").strip()  # of its scripts the first
            return ", ".join(text for text in (name, str(known.get("PatientID", ""))) if text)
        return ""

    def _page(self, asked: Asked, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        content = self._templates.get_template(template).render(
            session=asked.session, ae_title=self._site.settings.node.ae_title, path=asked.request.url.path, **values
        )
        return HTMLResponse(content, status_code)

    # ---- what goes wrong

    def refused(self, request: Request, fault: HTTPException) -> Response:
        """Say why there is no such page, in a page."""
        session = self._sessions.of(request.cookies.get(self._cookie, ""))
        return self._page(Asked(request, session, {}), "message.html", fault.status_code, message=fault.detail)

    def _failed(self, asked: Asked, fault: Exception) -> Response:
        self._site.say(events.PageBroke("".join(traceback.format_exception(fault))))
        return self._page(asked, "message.html", 500, message="This page could not be made. The log says why.")

    # ---- what programs ask

    def healthz(self, _: Request) -> Response:
        """This process is alive, and its node is: it ends with it."""
        return PlainTextResponse("ok\n")

    def readyz(self, _: Request) -> Response:
        """Whether images are taken in and worked on; else why not."""
        ailments = self._site.shelf.ailments()
        said = "".join(f"{part}: {why}\n" for part, why in ailments.items())
        return PlainTextResponse(said or "ready\n", 503 if ailments else 200)

    def metrics(self, _: Request) -> Response:
        """Prometheus' text."""
        return Response(self._site.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _LONGEST_FORM:
            raise HTTPException(413, "This form is too long.")
    fields = parse_qs(content.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=50)
    return {name: values[0] for name, values in fields.items()}


def _leading(study: Study) -> dict[str, Any]:
    """The entry that a list shows of a study: what a person has to see first, or else its result."""
    return min(study.entries, key=lambda entry: words.ORDER.index(entry["status"]))


def _changeable(settings: Settings) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """What may be changed for one result: the key, what people call it, its values."""
    own = (one.name for one in settings.measure.calibrations)
    return (
        ("fit.method", "Method", FIT_METHODS),
        ("measure.calibration", "Calibration", (*PUBLISHED_CALIBRATIONS, *dict.fromkeys(own), "none")),
    )


def _sentence(fault: NodeError) -> str:
    said = str(fault)
    return f"{said[:1].upper()}{said[1:]}."


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 1
