"""A key is nowhere in a synthesis: not in the run's folder, the export, the logs or what is said, though the server repeats it."""

from __future__ import annotations

import logging

from typer.testing import CliRunner

from rolekit.cli import app
from rolekit.roles.writing import to_toml


def test_a_server_that_repeats_the_key_gets_it_into_no_file(
    api, author, author_module, run_folder, instructions, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    secret = "rk-51cret-of-mine"
    monkeypatch.setenv("ROLEKIT_API_KEY", secret)
    api.respond = lambda body: f"Aye, and your key is {secret}, the lamp knows. {author(body)}"
    role = tmp_path / "mira.toml"
    role.write_text(to_toml(author_module.MIRA), encoding="utf-8")
    words = [
        "synth",
        "rolegpt",
        "--role",
        role,
        "--out",
        run_folder,
        "--model",
        api.ref,
        "--instructions",
        instructions,
    ]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert {request.headers["authorization"] for request in api.seen} == {f"Bearer {secret}"}
    files = [path for path in run_folder.rglob("*") if path.is_file()]
    assert any(path.name == "data_card.md" for path in files)
    assert any("your key is …, the lamp knows" in path.read_text("utf-8", "replace") for path in files)
    for path in files:
        assert secret.encode() not in path.read_bytes(), path
    assert secret not in caplog.text + done.output
