"""Passwords, tokens and signatures in URIs are not shown, and nothing else is changed."""

from __future__ import annotations

import pytest

from trainers.secrets import holds_secret, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:pa:ss@w0rd@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://u:p@h/db, and s3://k:s@e", "postgresql://u:***@h/db, and s3://k:***@e"),
        ("http://ann@corp.com:secret@host:5000", "http://***@host:5000"),
        ("postgresql://u:pa/ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password=***"),
        ("http://host:5000", "http://host:5000"),
        ("http://ann@host", "http://***@host"),
        ("https://tok3n@h/x", "https://***@h/x"),
        ("HTTPS://tok3n:@h/x", "HTTPS://***@h/x"),
        ("https://tok3n:x-oauth@h", "https://***@h"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("https://h/a@b", "https://h/a@b"),
        ("https://h/?token=abc", "https://h/?token=***"),
        (
            "https://h/?a=1&access_token=x&b=2&secret=y",
            "https://h/?a=1&access_token=***&b=2&secret=***",
        ),
        ("postgresql://h/db?sslpassword=zz", "postgresql://h/db?sslpassword=***"),
        ("https://h/?X-API-Key=zz#there", "https://h/?X-API-Key=***"),
        ("https://h/?passwd=a&pwd=b", "https://h/?passwd=***&pwd=***"),
        ("https://h/?sv=1&sig=SAS%2B", "https://h/?sv=1&sig=***"),
        (
            "https://h/?X-Amz-Credential=a/b&X-Amz-Signature=c&X-Goog-Signature=d",
            "https://h/?X-Amz-Credential=***&X-Amz-Signature=***&X-Goog-Signature=***",
        ),
        ("https://h/?x-sig=a&my.SIG=b&amp;sig=c", "https://h/?x-sig=***&my.SIG=***&amp;sig=***"),
        ("https://h/?design=2&sigma=1&sig2=3", "https://h/?design=2&sigma=1&sig2=3"),
        ("https://h/?page=2&q=token", "https://h/?page=2&q=token"),
        ('{"at": "https://h/?token=abc", "n": 1}', '{"at": "https://h/?token=***", "n": 1}'),
        ('{"at": "http://h", "to": "a@b"}', '{"at": "http://h", "to": "a@b"}'),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("see http://host:5000 or ann@host", "see http://host:5000 or ann@host"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert holds_secret(text) == (text != shown)


def test_what_is_masked_stays_as_it_is() -> None:
    once = masked("s3://k:s@e, http://ann@h/?token=a&sig=b")
    assert masked(once) == once
