"""REF of a server, and where keys may come from and go to."""

from __future__ import annotations

import os
import pickle
import traceback

import pytest

from rolekit.endpoints.address import OPENAI_URL, is_endpoint, parse_endpoint
from rolekit.endpoints.keys import find_key, key_file
from rolekit.errors import RolekitError

HOME = "openai:m@http://localhost:1234/v1"
FAR = "openai:m@https://api.example.org/v1"


@pytest.mark.parametrize(
    ("ref", "model", "url"),
    [
        ("openai:gpt-4o", "gpt-4o", OPENAI_URL),
        ("openai:llama3.2:1b@http://localhost:11434/v1/", "llama3.2:1b", "http://localhost:11434/v1"),
        ("openai:@cf/meta/llama@https://x.org/v1/chat/completions", "@cf/meta/llama", "https://x.org/v1"),
        (" OPENAI:m@http://[::1]:8080 ", "m", "http://[::1]:8080"),
    ],
)
def test_a_ref_names_model_and_server(ref, model, url):
    endpoint = parse_endpoint(ref)
    assert (endpoint.model, endpoint.base_url) == (model, url)
    assert parse_endpoint(str(endpoint)) == endpoint


def test_the_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert parse_endpoint("openai:m").base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("openai:", "does not name a model"),
        ("openai:@http://x/v1", "does not name a model"),
        ("openai:m@localhost:11434/v1", "has no beginning"),
        ("openai:m@https://me:secret@x.org/v1", "more than a place"),
        ("openai:m@https://x.org/v1?key=secret", "more than a place"),
        ("openai:m@http://:80", "no address"),
        ("openai:m@http://x:99999/v1", "no address"),
    ],
)
def test_what_is_no_ref(ref, sentence):
    with pytest.raises(RolekitError, match=sentence) as caught:
        parse_endpoint(ref)
    assert caught.value.what_to_do
    assert "secret" not in str(caught.value)


def test_what_is_an_endpoint():
    assert is_endpoint("openai:x")
    assert not is_endpoint("starter")
    assert not is_endpoint("./openai.gguf")


def test_no_key_is_fine():
    assert find_key(parse_endpoint(HOME)) is None


def test_openai_s_key_goes_to_openai_and_home_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    assert find_key(parse_endpoint("openai:gpt-4o")).reveal() == "sk-one"
    assert find_key(parse_endpoint(HOME)).reveal() == "sk-one"
    assert find_key(parse_endpoint(FAR)) is None
    monkeypatch.setenv("ROLEKIT_API_KEY", "rk-two")
    assert find_key(parse_endpoint(FAR)).reveal() == "rk-two"
    monkeypatch.delenv("ROLEKIT_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.example.org/v1")
    assert find_key(parse_endpoint("openai:m")).reveal() == "sk-one"


def test_a_key_never_travels_in_the_open(monkeypatch):
    monkeypatch.setenv("ROLEKIT_API_KEY", "rk-two")
    with pytest.raises(RolekitError, match="unencrypted"):
        find_key(parse_endpoint("openai:m@http://api.example.org/v1"))
    assert find_key(parse_endpoint("openai:m@http://192.168.1.7:8000/v1"))


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_a_key_file_is_for_its_owner_alone():
    key_file().parent.mkdir(parents=True)
    key_file().write_text("rk-file\n")
    key_file().chmod(0o644)
    with pytest.raises(RolekitError, match="read by others") as caught:
        find_key(parse_endpoint(FAR))
    assert "chmod 600" in caught.value.what_to_do
    key_file().chmod(0o600)
    assert find_key(parse_endpoint(FAR)).reveal() == "rk-file"


@pytest.mark.parametrize("value", ["sk one", "sk\x07", "schlüssel"])
def test_a_key_with_odd_signs(monkeypatch, value):
    monkeypatch.setenv("ROLEKIT_API_KEY", value)
    with pytest.raises(RolekitError, match="no key has") as caught:
        find_key(parse_endpoint(FAR))
    assert value not in str(caught.value)


def test_a_key_does_not_show_itself(monkeypatch):
    monkeypatch.setenv("ROLEKIT_API_KEY", "rk-hidden")
    key = find_key(parse_endpoint(FAR))
    try:
        raise ValueError(key)
    except ValueError:
        shown = traceback.format_exc() + repr([key]) + f"{key}" + str({"key": key})
    assert "rk-hidden" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)
