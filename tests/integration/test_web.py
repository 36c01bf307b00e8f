"""The page as a process of its own, asked over HTTP as a browser and as a program do."""

import contextlib
import http.cookiejar
import os
import re
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode import config, events, simulate
from dicomnode.config import RetentionSettings
from dicomnode.control import rows
from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus
from dicomnode.store.durable import read_json, write_json
from dicomnode.store.spool import Spool
from dicomnode.web.beside import Page
from dicomnode.web.passwords import hashed
from tests.acceptance.conftest import free_port, wait_for

STUDY, KEY = "1.2.840.17", "ab12cd34ab12cd34"
PASSWORD = "correct horse battery"
HASH = hashed(PASSWORD)


class Browser:
    """Keeps cookies, fills in forms, follows no redirect by itself."""

    def __init__(self, address, context=None):
        self.address = address
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies), urllib.request.HTTPSHandler(context=context), Stay()
        )

    def get(self, path, **headers):
        return self._open(urllib.request.Request(self.address + path, headers=headers))

    def post(self, path, form_of=None, **fields):
        """Send a form as the page ``form_of`` gives it."""
        if form_of is not None:
            fields["form_token"] = re.search(r'name="form_token" value="(\w+)"', self.get(form_of).text)[1]
        return self._open(urllib.request.Request(self.address + path, urllib.parse.urlencode(fields).encode()))

    def _open(self, request):
        try:
            answer = self.opener.open(request, timeout=30)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            answer.content = answer.read()
        answer.text = answer.content.decode("utf-8", "replace")
        return answer


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "dicomnode-data")
    made.create()
    return made


def settings(folder, web="", more=""):
    text = f'[[scanner]]\nae_title = "MR1"\n[storage]\nminimum_free_mb = 0\n{more}[web]\nport = {free_port()}\n{web}'
    (folder / "config.toml").write_text(text)
    return config.load(folder / "config.toml")


@pytest.fixture
def opened(tmp_path, spool):
    """Open the page of a configuration, and say what happens there."""
    with contextlib.ExitStack() as running:

        def begin(web="", *, ailments=dict, tls=None, more=""):
            said = []
            page = Page(settings(tmp_path, web, more), said.append)
            running.enter_context(page.open(ailments))
            wait_for(lambda: any(isinstance(event, events.PageOpened | events.PageFailed) for event in said), 60, "it")
            address = next((event.address for event in said if isinstance(event, events.PageOpened)), "")
            return Browser(address.rstrip("/"), tls), said, page

        yield begin


def study(spool, uid=STUDY, key=KEY, state="delivering", accession="MR-17"):
    group = {
        "series_instance_uids": [f"{uid}.1"],
        "status": "ready",
        "code": None,
        "reason": None,
        "missing": [],
        "left_out": [],
        "echo_times_ms": [1.0, 2.0, 3.0],
        "slices": 2,
        "images": 6,
        "sources": "s",
        "started": "s",
        "key": key,
    }
    record = {"study_instance_uid": uid, "accession_number": accession, "groups": {"g": group}, "others": []}
    write_json(spool.studies / f"{uid}.json", record)
    if key is None:
        return None
    job = spool.job(key)
    job.folder.mkdir(exist_ok=True)
    job.write("manifest.json", {"sources": [], "parameters": {}, "software_version": "1", "version": 2})
    job.write("state.json", {"status": state, "reason": None})
    return job


def page_of(browser):
    return re.search(r"/study/[0-9a-f]+", browser.get("/studies").text)[0]


def requests(spool):
    return [read_json(path) for path in spool.requests.glob("*.json")]


# ---- looking


def test_on_this_machine_one_looks_and_acts_without_a_log_in(spool, opened):
    job = study(spool)
    lifecycle.say_delivery(job, "pacs", Delivery(DeliveryStatus.DELAYED, 2, reason="it is away"))
    browser, _, _ = opened()
    assert "MR-17" in browser.get("/").text
    page = page_of(browser)
    assert "it is away" in browser.get(page).text
    answer = browser.post(page, form_of=page, what="retry", key=KEY)
    assert (answer.status, answer.headers["Location"]) == (303, page)
    (request,) = requests(spool)
    assert (request["what"], request["keys"], request["studies"]) == ("retry", [KEY], [STUDY])
    assert "The node was asked: retry" in browser.get(page).text
    assert "The node was asked" not in browser.get(page).text


@pytest.mark.parametrize("what", ["hold", "send again"])
def test_what_is_asked_for_is_asked_of_that_result(spool, opened, what):
    study(spool, state="done" if what == "send again" else "delivering").write("outputs.json", [])
    browser, _, _ = opened()
    page = page_of(browser)
    assert f'value="{what}"' in browser.get(page).text
    browser.post(page, form_of=page, what=what, key=KEY)
    assert [(one["what"], one["keys"]) for one in requests(spool)] == [(what, [KEY])]


def test_a_series_that_was_refused_is_processed_on_the_word_of_who_is_logged_in(spool, opened):
    study(spool, key=None)
    path = spool.studies / f"{STUDY}.json"
    record = read_json(path)
    refused = {**record["groups"]["g"], "status": "refused", "code": "not-wanted", "reason": "a rule"}
    write_json(path, {**record, "groups": {"g": refused, "h": {**refused, "code": "too-few-echoes"}}})
    browser, _, _ = opened(USERS)
    log_in(browser, "anna")
    page = page_of(browser)
    assert browser.get(page).text.count('value="process anyway"') == 1
    assert browser.post(page, form_of=page, what="process anyway", group="h").status == 409
    assert browser.post(page, form_of=page, what="process anyway", group="g").status == 303
    (request,) = requests(spool)
    assert (request["by"], request["keys"]) == ("anna", [])
    assert request["groups"] == [{"study": STUDY, "group": "g", "code": "not-wanted"}]


COMPARED = {
    "of": "ffff0000",
    "key": KEY,
    "answer": ["Liver iron 5.1 mg/g", "Liver iron 5.4 mg/g"],
    "software_version": ["1", "1"],
    "settings": {"fit.method": ["admm", "nls"]},
    "regions": [
        {
            "name": "liver",
            "lic_mg_per_g": [5.1, 5.4],
            "r2star_per_s": [180.0, 190.25],
            "t2star_ms": [5.556, None],
            "flags": [["coils"], ["noise"]],
        }
    ],
}


def test_earlier_results_are_shown_with_the_verdict_on_each(spool, opened):
    job = study(spool, state="done")
    row = ["2025-05-01", "8.1", "7.5 to 8.7", "317", "1.50", "Aera MR1", "this node", "less iron"]
    then = {"date": row[0], "lic_mg_per_g": 8.1, "lic_ci95": [7.5, 8.7], "bound": "", "scanner": "Aera MR1"}
    now = {
        **then,
        "date": "2026-01-05",
        "lic_mg_per_g": 5.1,
        "words": ["2026-01-05", "5.1", *[""] * 4, "this report", ""],
    }
    silent = "Earlier results were not asked for (pacs): it did not answer in time."
    trend = {
        "outcome": "less",
        "sentence": "Since 2025-05-01 less iron: 8.1 then, 5.1 mg/g now.",
        "repeatability_mg_per_g": 0.8,
        "points": [{**then, "outcome": "less", "words": row}],
        "now": now,
        "unasked": [{"where": "pacs", "code": "too-late", "sentence": silent}],
    }
    job.write("summary.json", {"status": "done", "rois": [], "trend": trend})
    job.write("outputs.json", [])
    browser, said, _ = opened()
    text = browser.get(page_of(browser)).text
    assert trend["sentence"] in text
    assert silent in text
    assert all(cell in text for cell in row)
    assert text.count("<circle") == 3  # two values and the key
    assert not [event for event in said if isinstance(event, events.PageBroke)]


@pytest.mark.parametrize(("staging", "shown"), [("mild 80 %, borderline 20 %", 1), ("", 0), (None, 0)])
def test_how_likely_each_range_is_stands_under_the_range(spool, opened, staging, shown):
    job = study(spool, state="done")
    words = dict.fromkeys(("lic_mg_per_g", "lic_ci95", "r2star_per_s", "r2star_ci95", "t2star_ms", "doubt"), "")
    words["range"] = "between borderline and mild (Reeder 2023)"
    words |= {} if staging is None else {"staging": staging}  # an earlier version's has none
    job.write("summary.json", {"status": "done", "rois": [{"name": "liver", "words": words, "flags": []}]})
    job.write("outputs.json", [])
    browser, said, _ = opened()
    text = browser.get(page_of(browser)).text
    assert words["range"] in text
    assert text.count("mild 80 %, borderline 20 %") == shown
    assert not [event for event in said if isinstance(event, events.PageBroke)]


def test_a_result_that_was_made_again_is_shown_beside_the_one_before_and_can_be_sent(spool, opened):
    job = study(spool, state="kept")
    job.write("outputs.json", [])
    job.write("comparison.json", COMPARED)
    browser, _, _ = opened()
    text = browser.get(page_of(browser)).text
    for told in ("5.1 → 5.4", "180.0 → 190.2", "5.56 → –", "+noise -coils", "admm → nls", "ffff0000", "Send it<"):
        assert told in text, told


def test_what_cannot_be_made_again_is_said_where_it_was_asked_for(spool, opened):
    study(spool, state="done").write("outputs.json", [])
    spool.study_folder(STUDY).mkdir()
    browser, _, _ = opened()
    page = page_of(browser)
    assert 'value="reprocess"' in browser.get(page).text
    answer = browser.post(page, form_of=page, what="reprocess", key=KEY, **{"fit.method": "nls"})
    assert (answer.status, "Its images are no longer kept here" in answer.text) == (409, True)
    answer = browser.post(page, form_of=page, what="reprocess", key=KEY, **{"fit.method": "best"})
    assert (answer.status, "[fit] method" in answer.text) == (409, True)
    assert requests(spool) == []


# ---- deleting


def deletable(spool, state="done"):
    job = study(spool, state=state)
    job.write("outputs.json", [])
    spool.study_folder(STUDY).mkdir()
    for number in range(3):
        (spool.study_folder(STUDY) / f"1.2.{number}.dcm").touch()
    lifecycle.say_delivery(job, "pacs", Delivery(DeliveryStatus.DELIVERED, delivered=("1.9.1", "1.9.2")))


def test_before_a_study_is_deleted_it_is_said_what_goes_and_what_stays(spool, opened):
    deletable(spool)
    browser, _, _ = opened(USERS)
    log_in(browser, "anna")
    page = page_of(browser)
    assert f'href="{page}/delete"' in browser.get(page).text
    text = browser.get(f"{page}/delete").text
    for told in ("3 images", "1 result", "2 objects in pacs"):
        assert told in text, told
    answer = browser.post(f"{page}/delete", form_of=page, reason="a test scan")
    assert (answer.status, answer.headers["Location"]) == (303, "/studies")
    asked = {"what": "purge", "by": "anna", "purge": [STUDY], "reason": "a test scan", "undelivered": False}
    assert requests(spool) == [asked]
    assert "asked to delete" in browser.get("/studies").text
    assert "asked to delete" not in browser.get("/studies").text


@pytest.mark.parametrize("reason", ["", "   "])
def test_nothing_is_deleted_without_a_reason(spool, opened, reason):
    deletable(spool)
    browser, _, _ = opened()
    page = page_of(browser)
    answer = browser.post(f"{page}/delete", form_of=page, reason=reason)
    assert (answer.status, "A reason is needed" in answer.text) == (400, True)
    assert requests(spool) == []


def test_what_is_not_delivered_is_deleted_only_where_that_is_ticked(spool, opened):
    deletable(spool, "delivering")
    browser, _, _ = opened()
    page = page_of(browser)
    assert "not finished or not delivered yet: Being sent" in browser.get(f"{page}/delete").text
    assert browser.post(f"{page}/delete", form_of=page, reason="a test").status == 400
    assert browser.post(f"{page}/delete", form_of=page, reason="a test", undelivered="1").status == 303
    assert [one["undelivered"] for one in requests(spool)] == [True]


def test_what_is_in_work_is_not_offered_to_be_deleted(spool, opened):
    deletable(spool, "fitting")
    browser, _, _ = opened()
    text = browser.get(f"{page_of(browser)}/delete").text
    assert "It is in work" in text
    assert 'name="reason"' not in text


def test_who_may_look_may_not_delete(spool, opened):
    deletable(spool)
    browser, _, _ = opened(USERS)
    log_in(browser, "bert")
    page = page_of(browser)
    assert "/delete" not in browser.get(page).text
    assert browser.get(f"{page}/delete").status == 403
    assert browser.post(f"{page}/delete", form_of=page, reason="a test").status == 403
    assert requests(spool) == []


def test_no_address_holds_an_accession_number_or_a_uid(spool, opened):
    study(spool)
    study(spool, "1.2.840.18", "ffffffff", accession="MR-18")
    browser, _, _ = opened()
    answer = browser.post("/studies", form_of="/studies", text="MR-17")
    assert answer.headers["Location"] == "/studies"
    found = browser.get("/studies").text
    assert ("MR-17" in found, "MR-18" in found, "1 of 2 studies" in found) == (True, False, True)
    for address in re.findall(r'(?:href|src|action)="([^"]*)"', browser.get("/").text + found):
        assert "MR-" not in address
        assert "1.2.840" not in address


def test_ten_thousand_studies_are_no_reason_to_wait(spool, opened):
    for number in range(10_000):
        uid, key = f"1.2.840.{number}", f"{number:08x}"
        record = {"study_instance_uid": uid, "accession_number": f"A{number}", "others": []}
        group = '{"series_instance_uids": [], "status": "ready", "code": null, "reason": null, "missing": [], '
        group += f'"left_out": [], "echo_times_ms": [], "slices": 1, "images": 1, "key": "{key}"}}'
        head = str(record).replace("'", '"')[:-1]
        (spool.studies / f"{uid}.json").write_text(f'{head}, "groups": {{"g": {group}}}}}')
        spool.job(key).folder.mkdir()
        (spool.job(key).folder / "state.json").write_text('{"status": "done"}')
    browser, _, page = opened()
    browser.get("/")  # reads them all, once
    seconds = []  # of the processor: a busy machine makes people wait for other reasons
    for path in ("/", "/studies", "/studies?page=150", "/metrics") * 3:
        time.sleep(0.8)  # what is known may be two seconds old
        before = spent(page)
        assert browser.get(path).status == 200
        seconds.append(spent(page) - before)
    assert sorted(seconds)[len(seconds) // 2] < 0.5, seconds


def spent(page):
    """Processor time of the process of the page, seconds (proc(5))."""
    fields = Path(f"/proc/{page._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("shown", [True, False])
def test_whose_a_study_is_stands_there_only_where_the_site_wants_it(spool, opened, shown):
    study(spool)
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, patient_name="DOE^JANE")
    image = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[0]
    spool.study_folder(STUDY).mkdir()
    image.save_as(spool.study_folder(STUDY) / "1.2.9.dcm", enforce_file_format=True)
    browser, _, _ = opened(f"show_patient = {str(shown).lower()}\n")
    told = "".join(browser.get(path).text for path in ("/", "/studies", page_of(browser)))
    assert ("DOE JANE" in told) == shown
    assert "DOE^JANE" not in told
    assert ("SIM-0001" in told) == shown


# ---- what is not allowed


def test_every_answer_forbids_scripts_and_frames_of_others(opened):
    browser, _, _ = opened()
    for path in ("/", "/studies", "/nothing", "/static/page.css", "/healthz"):
        headers = browser.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    page = browser.get("/").text
    assert re.findall(r"<script(?![^>]*src=)|\bstyle=|<style|\bon\w+=", page) == []


def test_the_cookie_is_for_this_page_alone(opened):
    browser, _, _ = opened()
    cookie = browser.get("/").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize("path", ["/studies", "/study/x", "/study/x/delete", "/login", "/logout"])
def test_a_form_that_was_not_given_here_is_refused(opened, path):
    browser, _, _ = opened()
    browser.get("/")
    for fields in ({}, {"form_token": ""}, {"form_token": "0" * 64}):
        assert browser.post(path, **fields).status == 403


def test_another_name_than_the_machines_is_not_answered(opened):
    """A page elsewhere cannot make its own name mean this machine."""
    browser, _, _ = opened()
    assert browser.get("/", Host="evil.example").status == 400
    assert browser.get("/", Host="localhost").status == 200


@pytest.mark.parametrize(
    "path",
    ["/study/../../etc/passwd", "/picture/..%2f..%2fincoming/0", "/picture/abcdef12/0", "/static/../app.py", "/x"],
)
def test_what_is_not_there_is_said_in_a_page(opened, path):
    browser, _, _ = opened()
    answer = browser.get(path)
    assert answer.status == 404
    assert "root:" not in answer.text


def test_a_form_without_end_is_refused(opened):
    browser, _, _ = opened()
    assert browser.post("/studies", text="x" * 20_000).status == 413


def test_what_a_file_says_is_text_and_never_part_of_the_page(spool, opened):
    study(spool, accession="<script>alert(1)</script>")
    browser, _, _ = opened()
    text = browser.get("/studies").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_fault_of_ours_costs_one_page_and_is_in_the_log(spool, opened):
    study(spool, state="done").write("summary.json", {"answer": "x", "rois": 7})
    browser, said, _ = opened()
    answer = browser.get(page_of(browser))
    assert (answer.status, "could not be made" in answer.text) == (500, True)
    assert answer.headers["Content-Security-Policy"]
    wait_for(lambda: any("TypeError" in event.reason for event in said if isinstance(event, events.PageBroke)), 5, "it")
    assert browser.get("/").status == 200


# ---- logging in

USERS = "".join(
    f'[[web.users]]\nname = "{name}"\npassword = "{HASH}"\nrole = "{role}"\n'
    for name, role in (("anna", "act"), ("bert", "view"))
)


def log_in(browser, name, password=PASSWORD):
    return browser.post("/login", form_of="/login", name=name, password=password)


def test_with_users_nothing_is_shown_before_the_log_in(spool, opened):
    study(spool)
    browser, said, _ = opened(USERS)
    for path in ("/", "/studies", "/study/0", f"/picture/{KEY}/0"):
        answer = browser.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert log_in(browser, "anna").status == 303
    assert "MR-17" in browser.get("/").text
    wait_for(lambda: events.LoggedIn("anna", "127.0.0.1") in said, 5, "the event")
    browser.get(page_of(browser))
    wait_for(lambda: events.StudyShown(STUDY, "anna", "127.0.0.1") in said, 5, "who was shown it")
    assert browser.post("/logout", form_of="/").status == 303
    assert browser.get("/").status == 303
    wait_for(lambda: events.LoggedOut("anna", "127.0.0.1") in said, 5, "the end")


def test_the_page_is_opened_anew_with_other_users_and_at_another_port(spool, opened, tmp_path):
    study(spool)
    browser, said, page = opened()
    assert "MR-17" in browser.get("/").text
    changed = settings(tmp_path, USERS)
    page.use(changed)
    wait_for(lambda: len([one for one in said if isinstance(one, events.PageOpened)]) == 2, 60, "the page")
    browser.address = f"http://127.0.0.1:{changed.web.port}"
    assert browser.get("/").headers["Location"] == "/login"
    assert log_in(browser, "anna").status == 303


def test_what_the_page_does_not_show_leaves_its_sessions_alone(spool, opened, tmp_path):
    browser, said, page = opened(USERS)
    assert log_in(browser, "anna").status == 303
    before = page._settings
    page.use(before.model_copy(update={"retention": RetentionSettings(originals_days=9)}))
    time.sleep(1.5)  # in which it would have been closed
    assert browser.get("/").status == 200
    assert len([one for one in said if isinstance(one, events.PageOpened)]) == 1


def test_who_may_look_may_not_act(spool, opened):
    study(spool)
    browser, _, _ = opened(USERS)
    log_in(browser, "bert")
    page = page_of(browser)
    assert "<button name" not in browser.get(page).text
    assert browser.post(page, form_of=page, what="hold", key=KEY).status == 403
    assert requests(spool) == []


def test_what_is_asked_for_names_who_asked(spool, opened):
    study(spool)
    browser, _, _ = opened(USERS)
    log_in(browser, "anna")
    page = page_of(browser)
    browser.post(page, form_of=page, what="hold", key=KEY)
    assert [one["by"] for one in requests(spool)] == ["anna"]


def test_passwords_cannot_be_guessed_one_after_the_other(opened):
    browser, said, _ = opened(USERS)
    assert [log_in(browser, "anna", "wrong").status for _ in range(5)] == [403] * 5
    late = log_in(browser, "anna")
    assert late.status == 429
    assert int(late.headers["Retry-After"]) > 200
    wait_for(lambda: sum(isinstance(event, events.LogInRefused) for event in said) == 6, 5, "the events")
    assert PASSWORD not in str(said)


def test_a_session_of_before_the_log_in_is_not_the_one_after_it(opened):
    browser, _, _ = opened(USERS)
    browser.get("/login")
    (before,) = [cookie.value for cookie in browser.cookies]
    log_in(browser, "anna")
    (after,) = [cookie.value for cookie in browser.cookies]
    assert before != after


@pytest.mark.peer
def test_with_a_certificate_the_page_speaks_tls_alone_and_takes_a_renewed_one(peer, tmp_path, opened):
    def issue(name):
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
        files = ["-keyout", "web.key", "-out", "web.pem", "-days", "60", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([peer("openssl"), "req", "-x509", *new, *files], check=True, capture_output=True, cwd=tmp_path)

    issue("first")
    tls = ssl.create_default_context(cafile=tmp_path / "web.pem")
    browser, said, _ = opened(f'certificate = "web.pem"\nkey = "web.key"\n{USERS}', tls=tls)
    assert browser.address.startswith("https://")
    log_in(browser, "anna")
    answer = browser.get("/")
    assert answer.status == 200
    assert answer.headers["Strict-Transport-Security"]
    (cookie,) = browser.cookies
    assert (cookie.name, cookie.secure) == ("__Host-session", True)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        Browser(browser.address.replace("https", "http")).get("/")
    issue("second")
    wait_for(lambda: any(isinstance(event, events.CertificateRenewed) for event in said), 20, "the renewal")
    renewed = Browser(browser.address, ssl.create_default_context(cafile=tmp_path / "web.pem"))
    assert renewed.get("/healthz").status == 200


# ---- programs


def test_ready_says_what_ails_the_node(opened):
    ailments = {}
    browser, _, _ = opened(ailments=lambda: dict(ailments))
    assert (browser.get("/healthz").status, browser.get("/readyz").status) == (200, 200)
    ailments["queue"] = "the database does not answer"
    wait_for(lambda: browser.get("/readyz").status == 503, 20, "the ailment")
    assert "queue: the database does not answer" in browser.get("/readyz").text
    assert "dicomnode_ready 0.0" in browser.get("/metrics").text
    assert "the database does not answer" in browser.get("/").text


def test_what_happens_in_the_node_is_counted(opened):
    browser, _, page = opened()
    page.sink(events.AssociationReleased("1.2.840.1", 12, "MR1"))
    page.sink(events.AssociationRejected("STRANGER", "10.0.0.9", "why", "unknown-calling"))
    page.sink(events.StepDone("k", "fit", 2.5))
    expected = (
        'dicomnode_images_received_total{scanner="MR1"} 12.0',
        'dicomnode_associations_refused_total{reason="unknown-calling"} 1.0',
        'dicomnode_step_seconds_count{step="fit"} 1.0',
    )
    wait_for(lambda: all(one in browser.get("/metrics").text for one in expected), 10, "the counting")
    assert "STRANGER" not in browser.get("/metrics").text


def test_a_port_that_is_taken_is_said_and_stops_nothing(tmp_path, spool):
    said = []
    chosen = settings(tmp_path)
    with contextlib.ExitStack() as running:
        running.enter_context(Page(chosen, said.append).open(dict))
        wait_for(lambda: said, 60, "the first page")
        running.enter_context(Page(chosen, said.append).open(dict))
        wait_for(lambda: len(said) == 2, 60, "the second")
    assert [type(event) for event in said] == [events.PageOpened, events.PageFailed]
    assert f"port {chosen.web.port}" in said[1].reason


def test_events_are_never_waited_for(tmp_path, spool):
    """Whatever becomes of the page's process."""
    page = Page(settings(tmp_path), lambda _: None)
    done = threading.Event()

    def tell():
        for _ in range(50_000):
            page.sink(events.StepDone("k", "fit", 1.0))
        done.set()

    threading.Thread(target=tell, daemon=True).start()
    assert done.wait(30)


def scanned(spool, weeks=20, step=1.0):
    """Weekly scans of three vials by one scanner; the last by ``step`` times the rates."""
    rates = (40.0, 90.0, 200.0)
    for week in range(weeks):
        factor = (1.0 + 0.002 * (-1) ** week) * (step if week == weeks - 1 else 1.0)
        vials = tuple(
            {"name": f"vial {n}", "centre_mm": [30.0 * n, 0.0, 0.0], "r2star_per_s": factor * rate}
            for n, rate in enumerate(rates, 1)
        )
        at = f"2026-{1 + week // 4:02d}-{1 + 7 * (week % 4):02d}T08:00:00"
        scanner = rows.Scanner("SIEMENS", "Skyra", "ROOM <4>", 2.89, "MR1")
        rows.append(
            spool.folder, rows.Row(f"k{week}", f"e{week}", at, scanner, "phantom", "8 echoes", "1", 80.0, vials=vials)
        )
    return scanner


def test_a_scanner_has_its_control_charts_and_its_table(opened, spool):
    scanner = scanned(spool)
    browser, _, _ = opened()
    listed = browser.get("/quality").text
    assert f'href="/quality/{scanner.name}"' in listed
    assert "ROOM &lt;4&gt;" in listed
    assert "Alarm" not in listed
    page = browser.get(f"/quality/{scanner.name}").text
    assert page.count("<svg") == 5, "all vials, each of three, signal over noise"
    assert "script" not in page.replace('<script src="/static/page.js" defer></script>', "")
    table = browser.get(f"/quality/{scanner.name}.csv")
    assert table.headers["Content-Type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 1 + 20 * 3
    assert browser.get("/quality.csv").text == table.text
    assert browser.get("/quality/none").status == 404


def test_a_step_of_a_scanner_is_an_alarm_on_the_first_page_and_in_its_chart(opened, spool):
    scanner = scanned(spool, step=1.06)
    browser, _, _ = opened()
    assert "the last scan of its phantom is off: R2* of all vials (step)" in browser.get("/").text
    assert "Last alarm: step" in browser.get(f"/quality/{scanner.name}").text
