"""Where webhooks may go, and one delivery: signed, to the checked address, and over in time."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.webhooks import AddressGuard, deliver, make_secret, ping, resolving, sign, verify
from api.webhooks.addresses import check_url, is_public, own_addresses
from evolve.exceptions import InputError
from webhook_receiver import Receiver

LOOPBACK = AddressGuard.parse("127.0.0.0/8")
SECRET = "whsec_test"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def names(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]]) -> list[str]:
    """Let names resolve to these addresses, one list for each call; returns the names that were asked for."""
    real, asked = socket.getaddrinfo, []

    def resolve(host: str, *arguments: object, **options: object) -> list[object]:
        if host not in table:
            return real(host, *arguments, **options)
        asked.append(host)
        answers = table[host] if len(table[host]) == 1 else [table[host].pop(0)]
        return [entry for answer in answers[0].split() for entry in real(answer, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.192", "198.18.0.1",
        "192.0.2.1", "168.63.129.16", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "fe80::1",
        "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2002:7f00:1::", "2001:0:1::1",
        "2001:db8::1", "3fff::1", "5f00::1", "100::1", "1::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111"]
)
def test_a_public_address_is_let_through(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_judged_alike_however_it_is_wrapped(number: int) -> None:
    bare = ipaddress.IPv4Address(number)
    assert is_public(ipaddress.IPv6Address(f"::ffff:{bare}")) == is_public(bare)
    assert is_public(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + number)) == is_public(bare)
    if is_public(bare):
        assert not any((bare.is_private, bare.is_loopback, bare.is_link_local, bare.is_multicast))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "//example.com", "example.com",
        "", "http://", "http:///x", "https://user:pw@example.com/", "http://user@example.com", "http://a b.com/",
        "http://example.com\\@127.0.0.1/", "http://example.com/\r\nHost: x", "http://example.com:99999/",
        "http://example.com:0/", "http://exa\x00mple.com/", "http://[::1/", "http://" + "a" * 3000, "javascript:x",
        "http://xn--\udcff.com",
    ],
)  # fmt: skip
def test_a_url_that_is_no_plain_one_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(InputError) as refused:
        check_url(url)
    assert "\n" not in str(refused.value)
    assert "pw" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/", "http://LOCALHOST.:{port}/", "http://127.0.0.1:{port}/", "http://2130706433:{port}/",
        "http://0x7f.1:{port}/", "http://0177.0.0.1:{port}/", "http://127.1:{port}/", "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/", "http://0.0.0.0:{port}/", "http://[::]:{port}/", "http://①②⑦.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/", "http://[fe80::1%25lo]:{port}/", "http://inside.example:{port}/",
    ],
)  # fmt: skip
def test_whatever_leads_inside_gets_nothing(url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"inside.example": ["127.0.0.1"]})
    delivery = deliver(url.format(port=receiver.port), SECRET, ping(), AddressGuard(), seconds=5)
    assert delivery.status is None
    assert delivery.error
    assert "\n" not in delivery.error
    assert receiver.received == []


def test_one_private_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"both.example": ["8.8.8.8 10.0.0.1"]})
    with pytest.raises(InputError, match=r"one is 10\.0\.0\.1; .*EVOLVE_WEBHOOK_ALLOW"):
        AddressGuard().addresses("both.example", 80)


def test_a_public_address_of_this_machine_is_refused_unless_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, "8.8.4.4"), (socket.AF_INET6, "2606:4700::1111%eth0"), (socket.AF_PACKET, "00:00")]
    interface = [SimpleNamespace(family=family, address=address) for family, address in entries]
    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"eth0": interface})
    for host in ("8.8.4.4", "::ffff:8.8.4.4", "2606:4700::1111"):
        with pytest.raises(InputError, match=r"of this machine; .*EVOLVE_WEBHOOK_ALLOW"):
            AddressGuard().addresses(host, 80)
    assert AddressGuard().addresses("8.8.8.8", 80) == ["8.8.8.8"]
    assert AddressGuard.parse("8.8.4.4").addresses("8.8.4.4", 80) == ["8.8.4.4"]


def test_own_addresses_are_those_of_the_interfaces() -> None:
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()


def test_a_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(resolving, "_slots", threading.BoundedSemaphore(2))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [answered.wait(20)][:0])
    began = time.monotonic()
    before = threading.active_count()
    for _ in range(4):
        delivery = deliver("http://hooks.example/", SECRET, ping(), AddressGuard(), seconds=0.1)
        assert delivery.error.endswith("hooks.example: must resolve to an address, but no answer came within 0.1 s")
    assert threading.active_count() - before == 2
    answered.set()
    assert time.monotonic() - began < 5


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(InputError, match="must resolve to an address"):
        AddressGuard().addresses("nowhere.invalid", 80)


def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was judged is the one that is connected to: the name is resolved once."""
    asked = names(monkeypatch, {"rebinding.example": ["8.8.8.8", "127.0.0.1", "127.0.0.1"]})
    connected = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    delivery = deliver("http://rebinding.example/hook", SECRET, ping(), AddressGuard())
    assert "cannot be reached" in delivery.error
    assert connected == [("8.8.8.8", 80)]
    assert asked == ["rebinding.example"]


@pytest.mark.parametrize(
    ("allow", "host", "address", "admitted"),
    [
        ("10.0.0.0/8", "a.example", "10.1.2.3", True),
        ("10.0.0.0/8", "a.example", "11.0.0.1", True),  # public
        ("10.0.0.0/8", "a.example", "192.168.0.1", False),
        ("10.0.0.0/8", "a.example", "::ffff:10.1.2.3", True),
        ("10.1.2.3", "a.example", "10.1.2.3", True),
        ("10.1.2.3", "a.example", "10.1.2.4", False),
        ("A.example , fd00::/8", "a.EXAMPLE.", "192.168.0.1", True),
        ("a.example", "b.a.example", "192.168.0.1", False),
        ("fd00::/8", "a.example", "fd00::1", True),
        ("", "a.example", "127.0.0.1", False),
    ],
)  # fmt: skip
def test_the_list_of_exceptions(
    allow: str, host: str, address: str, admitted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {host: [address]})
    guard = AddressGuard.parse(allow)
    if admitted:
        assert guard.addresses(host, 80) == [address]
    else:
        with pytest.raises(InputError):
            guard.addresses(host, 80)


@pytest.mark.parametrize("text", ["http://a.example", "10.0.0.0/99", "a b", "*", "*.example", "1234"])
def test_a_list_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(InputError, match="EVOLVE_WEBHOOK_ALLOW: must be"):
        AddressGuard.parse(f"10.0.0.1,{text}")


def test_a_delivery_is_signed_and_says_what_it_is(receiver: Receiver) -> None:
    message = ping()
    delivery = deliver(receiver.url, SECRET, message, LOOPBACK)
    assert (delivery.status, delivery.error) == (204, "")
    [(headers, body)] = receiver.received
    assert verify(SECRET, body, headers["X-Evolve-Signature"])
    assert not verify("whsec_other", body, headers["X-Evolve-Signature"])
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["X-Evolve-Kind"] == "ping"
    assert headers["X-Evolve-Delivery"] == message.id == json.loads(body)["id"]
    assert json.loads(body).keys() == {"id", "kind", "search", "data", "at"}


def test_a_signature_holds_for_its_body_and_for_five_minutes() -> None:
    secret = make_secret()
    header = sign(secret, b"body", 1000)
    assert verify(secret, b"body", header, now=1299)
    assert not verify(secret, b"body", header, now=1301)
    assert not verify(secret, b"body!", header, now=1000)
    assert not verify(secret, b"body", header.replace("t=1000", "t=1001"), now=1000)
    for forged in ("", "t=1000", "v1=00", header + ",v1=00", header.upper(), "t=²,v1=" + "0" * 64):
        assert not verify(secret, b"body", forged, now=1000)


def test_the_documentation_verifies_what_is_sent(receiver: Receiver) -> None:
    text = (Path(__file__).parents[1] / "docs/webhooks.md").read_text()
    names: dict[str, Callable[..., bool]] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    deliver(receiver.url, SECRET, ping(), LOOPBACK)
    [(headers, body)] = receiver.received
    assert names["genuine"](SECRET, body, headers["X-Evolve-Signature"])
    assert not names["genuine"](SECRET, body + b" ", headers["X-Evolve-Signature"])
    assert not names["genuine"](SECRET, b"old", sign(SECRET, b"old", 1000))


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.statuses = [302]
    delivery = deliver(receiver.url, SECRET, ping(), LOOPBACK)
    assert delivery.status == 302
    assert "redirects are not followed" in delivery.error
    assert len(receiver.received) == 1


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert deliver(receiver.url, SECRET, ping(), LOOPBACK).error == ""


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    """Send a head that never ends, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(handler)


def drip(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(300):
        try:
            handler.wfile.write(b"x")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


def test_a_receiver_that_doles_out_its_answer_is_cut_off(receiver: Receiver) -> None:
    receiver.answer = drip_head
    began = time.monotonic()
    delivery = deliver(receiver.url, SECRET, ping(), LOOPBACK, seconds=0.8)
    assert time.monotonic() - began < 5
    assert delivery.error == "the receiver must answer within 0.8 s, but did not"


def test_an_endless_body_is_not_read(receiver: Receiver) -> None:
    sent = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                sent.append(handler.wfile.write(b"x" * 65536))
        except OSError:
            pass

    receiver.answer = flood
    delivery = deliver(receiver.url, SECRET, ping(), LOOPBACK)
    assert (delivery.status, delivery.error) == (200, "")
    assert sum(sent) < 64 * 2**20


def test_a_message_that_was_taken_counts_whatever_becomes_of_the_answer(receiver: Receiver) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        drip(handler)

    receiver.answer = trickle
    delivery = deliver(receiver.url, SECRET, ping(), LOOPBACK, seconds=0.8)
    assert (delivery.status, delivery.error) == (200, "")
    assert delivery.seconds < 5


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_nonsense_is_a_failure(receiver: Receiver, answer: bytes) -> None:
    receiver.answer = lambda handler: handler.wfile.write(answer) and None
    delivery = deliver(receiver.url, SECRET, ping(), LOOPBACK)
    assert delivery.error.startswith("the receiver cannot be reached: ")


def test_a_closed_port_is_a_failure(receiver: Receiver) -> None:
    url = receiver.url
    receiver.close()
    try:
        assert "cannot be reached" in deliver(url, SECRET, ping(), LOOPBACK).error
    finally:
        receiver.__post_init__()  # for the fixture to close


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key, and a certificate for hooks.example."""
    folder = tmp_path_factory.mktemp("certificate")
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    subprocess.run([*command, *names, "-keyout", key, "-out", file], check=True, capture_output=True)
    return key, file


def test_tls_is_spoken_with_the_name_in_the_url(
    certificate: tuple[Path, Path], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, file = certificate
    asked: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file, key)
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    receiver.speak_tls(server)
    names(monkeypatch, {"hooks.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    trusting = ssl.create_default_context(cafile=str(file))

    def send(host: str, context: ssl.SSLContext | None) -> str:
        url = f"https://{host}:{receiver.port}/hook"
        return deliver(url, SECRET, ping(), LOOPBACK, context=context).error

    assert send("hooks.example", trusting) == ""
    assert receiver.received[0][0]["Host"] == f"hooks.example:{receiver.port}"
    assert "certificate" in send("other.example", trusting)  # not of this name
    assert "certificate" in send("hooks.example", None)  # of no authority
    assert asked == ["hooks.example", "other.example", "hooks.example"]
    assert len(receiver.received) == 1
