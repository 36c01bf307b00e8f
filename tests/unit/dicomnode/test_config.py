import os
from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
SERVING = """
[[scanner]]
ae_title = "MR1"
[[destination]]
name = "pacs"
ae_title = "PACS"
host = "pacs.example"
port = 104
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str, **options: bool) -> str:
    with pytest.raises(ConfigError) as raised:
        config.load(write(folder, text), **options)
    return str(raised.value)


def test_no_file_gives_the_documented_defaults():
    settings = config.load(None)
    assert settings.grouping.minimum_echoes == 3
    assert settings.grouping.quiet_seconds == 5
    assert settings.fit.method == "admm"


def test_every_fault_is_reported_at_once_with_its_line(tmp_path):
    said = faults(
        tmp_path,
        '[node]\nport = "x"\n[grouping]\nminimum_echos = 2\n[[scanner]]\nae_title = "A"\n[[scanner]]\naddress = "b"\n',
        for_serving=True,
    )
    assert "line 2: [node] port" in said
    assert "line 4: [grouping] minimum_echos: unknown key; did you mean 'minimum_echoes'?" in said
    assert "[[scanner]] 2 ae_title: is needed" in said
    assert "[[destination]]" in said
    assert said.splitlines()[0].endswith("4 faults")


def test_an_ae_title_longer_than_16_characters_is_refused(tmp_path):
    assert "1 to 16 printable" in faults(tmp_path, '[node]\nae_title = "ABCDEFGHIJKLMNOPQ"\n')


def test_serving_needs_scanners_and_destinations(tmp_path):
    said = faults(tmp_path, "", for_serving=True)
    assert "[[scanner]]" in said
    assert "[[destination]]" in said
    assert config.load(write(tmp_path, SERVING), for_serving=True).destination[0].port == 104


def test_a_scanner_with_a_port_and_no_address_is_a_fault(tmp_path):
    """There is nobody to tell what is kept."""
    path = tmp_path / "config.toml"
    path.write_text('[[scanner]]\nae_title = "MR1"\nport = 104\n')
    with pytest.raises(ConfigError, match=r"line 1: \[\[scanner\]\]: port needs address"):
        config.load(path)


def test_of_several_tables_of_a_scanner_the_one_with_a_port_says_where_it_is_told():
    tables = [{"ae_title": "MR1"}, {"ae_title": "MR1", "address": "192.0.2.1", "port": 104}, {"ae_title": "MR2"}]
    settings = config.Settings(scanner=tuple(config.ScannerSettings(**one) for one in tables))
    assert [getattr(settings.scanner_of(title), "port", "unknown") for title in ("MR1", "MR2", "MR3")] == [
        104,
        None,
        "unknown",
    ]


def test_a_destination_named_twice_is_a_fault(tmp_path):
    said = faults(
        tmp_path,
        SERVING + SERVING.split("[[destination]]", maxsplit=1)[0] + "[[destination]]\nname = 'pacs'\n"
        "ae_title = 'B'\nhost = 'h'\nport = 1\n",
        for_serving=True,
    )
    assert "'pacs' is used twice" in said


STOW = '[[destination]]\nname = "cloud"\nkind = "dicomweb"\n'
URL = 'url = "https://pacs.example/dicom-web"\n'


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (STOW, 'url is needed for kind "dicomweb"'),
        (STOW + URL + 'ae_title = "A"\n', 'ae_title belongs to kind "dicom", this is kind "dicomweb": remove it'),
        (STOW + URL + "port = 104\n", 'port belongs to kind "dicom" or "hl7"'),
        (SERVING + "request_mb = 3\n", 'request_mb belongs to kind "dicomweb", this is kind "dicom"'),
        (
            '[[destination]]\nname = "e"\nkind = "hl7"\nhost = "h"\nport = 1\nproducts = []\n',
            "products belongs to kind",
        ),
        ('[[destination]]\nname = "e"\nkind = "fhir"\nurl = "ehr.example"\n', "[[destination]] url"),
        ('[[destination]]\nname = "e"\nkind = "fhir"\nurl = "https://user:pass@ehr.example"\n', "[[destination]] url"),
        ('[[destination]]\nname = "e"\nkind = "smtp"\n', "'dicomweb'"),
        ("[[destination]]\nname = 'p'\nae_title = 'P'\nhost = 'h'\n", 'port is needed for kind "dicom"'),
        (STOW + URL + 'client_id = "x"\n', "belong together"),
        (STOW + URL + 'user = "x"\n', "user and password_file belong together"),
        (STOW + URL + 'token_file = "t"\nuser = "x"\npassword_file = "p"\n', "keep one"),
        (STOW + 'url = "http://pacs.example"\ntoken_file = "t"\n', "credentials would go unencrypted"),
    ],
)
def test_a_destination_has_the_keys_of_its_kind_and_no_others(tmp_path, table, said):
    assert said in faults(tmp_path, table)


def test_a_fault_of_a_destination_repeats_no_secret(tmp_path):
    said = faults(tmp_path, STOW + 'url = "https://user:sesame@ehr.example"\n')
    assert "sesame" not in said


def test_what_a_destination_without_keys_of_its_kind_gets_is_safe(tmp_path):
    one = config.load(write(tmp_path, STOW + 'url = "http://localhost:8042/dicom-web"\n')).destination[0]
    assert (one.gets_objects, one.token_file, one.request_mb) == (True, None, 64)


def test_the_secrets_of_a_destination_lie_beside_the_file_or_among_the_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    token = STOW + URL + 'token_file = "credential:pacs-token"\n'
    granted = STOW + URL + 'token_url = "https://a.example"\nclient_id = "c"\nclient_secret_file = "secret"\n'
    by_token, by_grant = config.load(write(tmp_path, token + granted.replace("cloud", "other"))).destination
    assert by_token.token_file == Path("/run/credentials/x/pacs-token")
    assert by_grant.client_secret_file == tmp_path / "secret"


def test_an_unknown_product_names_the_ones_that_exist(tmp_path):
    assert "'mr_maps'" in faults(tmp_path, SERVING + 'products = ["map"]\n')


def test_broken_toml_names_the_line(tmp_path):
    assert "line 2" in faults(tmp_path, "[node]\nport = = 3\n")


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml")


def test_the_storage_folder_is_beside_the_file_or_systemds(tmp_path, monkeypatch):
    path = write(tmp_path, SERVING)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert config.load(path).storage_folder() == tmp_path / "dicomnode-data"
    monkeypatch.setenv("STATE_DIRECTORY", os.fspath(tmp_path / "state"))
    assert config.load(path).storage_folder() == tmp_path / "state"


def test_a_key_file_may_be_a_credential(tmp_path, monkeypatch):
    path = write(tmp_path, '[tls]\nkey = "credential:node.key"\ncertificate = "node.crt"\n')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    tls = config.load(path).tls
    assert (tls.key, tls.certificate) == (Path("/run/credentials/x/node.key"), tmp_path / "node.crt")


def test_every_file_is_found_beside_the_configuration_or_among_the_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    text = '[audit]\nfile = "audit.log"\n[notify]\nsmtp_password_file = "credential:smtp"\n'
    settings = config.load(write(tmp_path, text))
    assert settings.audit.file == tmp_path / "audit.log"
    assert settings.notify.smtp_password_file == Path("/run/credentials/x/smtp")


def test_the_database_may_be_a_credential_that_is_read_when_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = config.load(write(tmp_path, SERVING + '[engine]\nurl = "credential:queue"\n'), for_serving=True)
    with pytest.raises(ConfigError, match="queue cannot be read: No such file or directory; see LoadCredential="):
        settings.is_shared()
    (tmp_path / "queue").write_text("postgresql://node:secret@db/queue\n")
    assert settings.engine_url() == "postgresql://node:secret@db/queue"
    assert settings.is_shared()
    (tmp_path / "queue").write_text("mysql://node:secret@db/queue\n")
    with pytest.raises(ConfigError, match="holds neither sqlite") as fault:
        settings.engine_url()
    assert "secret" not in str(fault.value)


def test_the_example_is_valid_and_documents_every_key():
    path = REPOSITORY / "deploy" / "config.example.toml"
    settings = config.load(path, for_serving=True)
    text = path.read_text()
    for section, field in config.Settings.model_fields.items():
        model = field.annotation if isinstance(field.annotation, type) else field.annotation.__args__[0]
        assert f"[{section}]" in text or f"[[{section}]]" in text, section
        for key in model.model_fields:
            assert f"{key} =" in text or f"[[{section}.{key}]]" in text, f"[{section}] {key}"
    for key in config.CalibrationSettings.model_fields:
        assert f"# {key} =" in text, key
    for key in config.UserSettings.model_fields:
        assert f"# {key} =" in text, key
    assert settings.scanner


def test_settings_that_cannot_change_a_number_do_not_change_the_results_identity(tmp_path):
    plain = config.load(write(tmp_path, "")).result_parameters()
    assert (
        config.load(write(tmp_path, "[node]\nport = 104\n[grouping]\nquiet_seconds = 1.0\n")).result_parameters()
        == plain
    )
    assert config.load(write(tmp_path, '[fit]\nmethod = "nls"\n')).result_parameters() != plain


OWN = """
[measure]
calibration = "ours"
[[measure.calibrations]]
name = "ours"
field_t = [1.4, 1.6]
intercept = -0.2
slope = 0.0265
most_mg_per_g = 30.0
source = "internal report, 40 biopsies"
"""


def test_a_site_may_bring_its_own_calibration_with_its_source(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(OWN)
    settings = config.load(path)
    assert settings.measure.calibrations[0].slope == 0.0265
    assert settings.result_parameters() != config.load(None).result_parameters()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('calibration = "theirs"', "line 2: [measure]: calibration 'theirs' is none of hernando-2023"),
        ("field_t = [1.6, 1.4]", "lowest and the highest field"),
        ("slope = -0.1", "[measure] calibrations 1 slope"),
        ('name = "wood-2005"', "is the name of a published calibration"),
        ('source = ""', "[measure] calibrations 1 source"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused_by_name(tmp_path, line, said):
    key = line.split(" = ")[0]
    path = tmp_path / "config.toml"
    path.write_text("\n".join(line if one.startswith(f"{key} =") else one for one in OWN.splitlines()))
    with pytest.raises(config.ConfigError) as fault:
        config.load(path)
    assert said in str(fault.value)


OPEN = 'host = "0.0.0.0"\n'
USER = '[[web.users]]\nname = "anna"\npassword = "$argon2id$x"\n'


@pytest.mark.parametrize(
    ("web", "words"),
    [
        (OPEN, ["[web] host: 0.0.0.0 is open to the network", "[[web.users]]", "a certificate and a key"]),
        (OPEN + USER, ["a certificate and a key"]),
        (OPEN + 'certificate = "a"\nkey = "b"\n', ["[[web.users]]"]),
        ('certificate = "a"\n', ["certificate and key go together"]),
        ('[[web.users]]\nname = "anna"\npassword = "secret"\n', ["[web] users 1 password"]),
    ],
)
def test_the_page_is_not_opened_to_a_network_by_accident(tmp_path, web, words):
    said = faults(tmp_path, f"{SERVING}[web]\n{web}", for_serving=True)
    for one in words:
        assert one in said


@pytest.mark.parametrize(
    "web",
    [
        "",
        "enabled = false\n" + OPEN,
        'host = "::1"\n',
        'host = "localhost"\n',
        OPEN + 'certificate = "a"\nkey = "b"\n' + USER,
        OPEN + USER + '[tls]\ncertificate = "a"\nkey = "b"\n',
    ],
)
def test_a_page_that_is_closed_or_guarded_is_served(tmp_path, web):
    config.load(write(tmp_path, f"{SERVING}[web]\n{web}"), for_serving=True)


def test_a_wrong_password_entry_is_not_repeated(tmp_path):
    """It may be the password itself."""
    said = faults(tmp_path, f'{SERVING}[web]\n[[web.users]]\nname = "anna"\npassword = "hunter2hunter2"\n')
    assert "hunter2" not in said


def test_whether_phantoms_are_measured_is_said_by_the_scanner_or_else_for_all():
    tables = (config.ScannerSettings(ae_title="MR1", phantoms="refused"), config.ScannerSettings(ae_title="MR2"))
    assert config.GroupingSettings().phantoms == "measured"
    settings = config.Settings(scanner=tables)
    assert [settings.grouping_of(one).phantoms for one in ("MR1", "MR2")] == ["refused", "measured"]


@pytest.mark.parametrize("key", ["ignore_series", "accept_series", "only_series"])
def test_a_pattern_of_a_scanner_that_is_none_is_a_fault_with_its_key(tmp_path, key):
    said = faults(tmp_path, f'[[scanner]]\nae_title = "MR1"\n{key} = ["liver", "("]\n')
    assert f"line 3: [[scanner]] {key} 2: not a regular expression" in said


def test_what_a_scanner_accepts_is_not_judged_and_all_else_is():
    choosing = config.ScannerSettings(ae_title="MR1", accept_series=("iron",), ignore_series=("scout",))
    settings = config.Settings(scanner=(config.ScannerSettings(ae_title="MR1"), choosing))
    assert settings.choosing_scanners() == {"MR1": choosing}
    assert settings.grouping_of("MR1", ("T2* IRON", "")).anatomy == "any"
    for sender, names in (("MR1", ("iron scout",)), ("MR1", ("knee",)), ("MR1", ()), ("MR2", ("iron",))):
        assert settings.grouping_of(sender, names).anatomy == "judged"
