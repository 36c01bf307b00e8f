"""People are told what needs them, once, also when nobody listened at first; and nothing else."""

import http.server
import json
import socketserver
import threading
import time

import pytest

from dicomnode import events
from dicomnode.config import NodeSettings, NotifySettings, Settings
from dicomnode.notices import Notices

FAILED = events.JobEnded("1.2", "k1", "failed", "fit: the disk is gone")


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Hook(http.server.ThreadingHTTPServer):
    """Takes what is posted, but refuses as often as it is told to."""

    def __init__(self, refusals=0):
        self.said, self.tokens, self.refusals = [], [], refusals
        super().__init__(("127.0.0.1", 0), _Posted)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/x"


class _Posted(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusals:
            self.server.refusals -= 1
            self.send_response(503)
        else:
            self.server.said.append(json.loads(content))
            self.server.tokens.append(self.headers["Authorization"])
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Be quiet."""


class Mailbox(socketserver.ThreadingTCPServer):
    """A small SMTP server."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        self.mails = []
        super().__init__(("127.0.0.1", 0), _Mail)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            word = line.split()[0].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (one := self.rfile.readline()) != b".\r\n":
                    text += one
                self.server.mails.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")


@pytest.fixture
def notices(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomnode.notices._TRY_AGAIN_SECONDS", 0.05)
    made, now = [], [0.0]

    def begin(say=None, **keys):
        settings = Settings(node=NodeSettings(ae_title="NODE"), notify=NotifySettings(**keys))
        sink = (lambda _: None) if say is None else say.append
        made.append(Notices(settings, tmp_path / "notices", say=sink, clock=lambda: now[0]))
        made[-1].start()
        return made[-1]

    begin.now = now
    yield begin
    for one in made:
        one.stop()


@pytest.fixture
def hook():
    made = []

    def begin(**more):
        made.append(Hook(**more))
        return made[-1]

    yield begin
    for one in made:
        one.shutdown()
        one.server_close()


def test_a_failed_result_is_told_with_what_to_do_and_no_study(notices, hook, tmp_path):
    server = hook()
    (tmp_path / "token").write_text("secret\n")
    notices(webhook=server.url, webhook_token_file=tmp_path / "token")(FAILED)
    wait_for(lambda: server.said)
    (said,) = server.said
    assert (said["node"], said["kind"], said["about"]) == ("NODE", "failed", "k1")
    assert "the disk is gone" in said["sentence"]
    assert "dicomnode retry k1" in said["advice"]
    assert "1.2" not in json.dumps(said)
    assert server.tokens == ["Bearer secret"]


def test_the_same_is_told_once_a_day_and_another_at_once(notices, hook):
    server = hook()
    told = notices(webhook=server.url)
    for _ in range(3):
        told(FAILED)
    told(events.DiskFull("no space"))
    wait_for(lambda: len(server.said) == 2)
    notices.now[0] += 25 * 3600
    told(FAILED)
    wait_for(lambda: len(server.said) == 3)
    assert [one["kind"] for one in server.said] == ["failed", "disk-full", "failed"]


def test_a_webhook_that_refuses_gets_it_later_and_that_is_said_once(notices, hook):
    server, said = hook(refusals=3), []
    notices(say=said, webhook=server.url)(FAILED)
    wait_for(lambda: server.said)
    assert [type(one) for one in said] == [events.NoticeDelayed]


def test_what_nobody_took_is_sent_by_the_next_run(notices, hook):
    first = notices(webhook="http://127.0.0.1:1/x")
    first(FAILED)
    first.stop()
    server = hook()
    notices(webhook=server.url)
    wait_for(lambda: server.said)


def test_a_mail_has_a_subject_and_the_words_and_a_dead_webhook_does_not_hold_it_up(notices):
    box = Mailbox()
    port = box.server_address[1]
    told = notices(
        webhook="http://127.0.0.1:1/x",
        email_to=("it@example.org",),
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_starttls=False,
    )
    told(events.CertificateEnds("/etc/node.crt", 9))
    wait_for(lambda: box.mails)
    box.shutdown()
    box.server_close()
    assert "Subject: [NODE] certificate" in box.mails[0]
    assert "/etc/node.crt ends in 9 days" in box.mails[0].replace("=\n", "")


def test_a_mail_server_without_tls_gets_nothing_where_tls_is_wanted(notices):
    box, said = Mailbox(), []
    notices(say=said, email_to=("it@example.org",), smtp_host="127.0.0.1", smtp_port=box.server_address[1])(FAILED)
    wait_for(lambda: said)
    box.shutdown()
    box.server_close()
    assert box.mails == []


@pytest.mark.parametrize(
    "event",
    [
        events.JobEnded("1.2", "k", "done", None),
        events.JobEnded("1.2", "k", "refused", "no liver"),
        events.StepDone("k", "fit", 1.0),
        events.Started("1", "/data"),
    ],
)
def test_what_needs_nobody_is_not_told(notices, hook, event, tmp_path):
    notices(webhook=hook().url)(event)
    assert [path for path in (tmp_path / "notices").rglob("*") if path.is_file()] == []


def test_others_are_told_from_now_on_also_what_nobody_took(notices, hook, tmp_path):
    said, deaf, heard = [], hook(refusals=10**6), hook()
    one = notices(say=said, webhook=deaf.url)
    one(FAILED)
    wait_for(lambda: said)
    one.use(Settings(notify=NotifySettings(webhook=heard.url, repeat_hours=0.0)))
    wait_for(lambda: heard.said)
    one(FAILED)
    wait_for(lambda: len(heard.said) == 2)


def test_a_way_that_is_gone_is_not_gone_any_more_and_a_new_one_is(notices, hook):
    server, box = hook(), Mailbox()
    mail = {"email_to": ("it@example.org",), "smtp_host": "127.0.0.1", "smtp_starttls": False}
    one = notices(webhook=server.url)
    one.use(Settings(notify=NotifySettings(**mail, smtp_port=box.server_address[1])))
    one(FAILED)
    wait_for(lambda: box.mails)
    box.shutdown()
    box.server_close()
    assert server.said == []
