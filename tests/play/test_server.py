"""The page is served to this machine alone, shows what the session does, and what is set there reaches the session."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import viser
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from robodistill.config import groups
from robodistill.play.policies import Policies
from robodistill.play.server import PlayServer, reach_text
from robodistill.play.session import Session
from robodistill.runs import RunFolder
from robodistill.settings import PlayConfig
from robodistill_deploy.errors import RobodistillError

MakeSession = Callable[..., Session]
SavePolicy = Callable[..., Path]
MakeServer = Callable[..., PlayServer]
TASKS = sorted(groups()["task"])
LOOPBACK_HEX = "0100007F"


@pytest.fixture
def make_server(
    make_session: MakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeServer]:
    """``make_server(task, checkpoint)``: a page at a free port that believes somebody looks at it."""
    made: list[PlayServer] = []

    def make(task: str = "go2_flat", checkpoint: str = "last") -> PlayServer:
        session = make_session(task)
        policies = Policies(RunFolder(tmp_path), session.env.spec, checkpoint)
        made.append(PlayServer(session, policies, PlayConfig().host, port=0))
        monkeypatch.setattr(made[-1].viser, "get_clients", lambda: {0: None})
        return made[-1]

    yield make
    for server in made:
        server.close()


def listening(table: str) -> dict[str, str]:
    """Return the hexadecimal addresses that this process listens on, by socket, from a table in /proc/net."""
    own = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)}
    rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {row[9]: row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}


def _is_link(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_nothing_listens_but_on_loopback(make_server: MakeServer) -> None:
    before = {**listening("tcp"), **listening("tcp6")}
    make_server()
    now = {**listening("tcp"), **listening("tcp6")}
    added = [address for key, address in now.items() if key not in before]
    assert added == [LOOPBACK_HEX]
    with socket.socket() as everywhere:  # what would show if it did
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        assert "00000000" in listening("tcp").values()


def test_the_page_answers_and_a_client_gets_the_scene(make_server: MakeServer) -> None:
    server = make_server()
    address = f"127.0.0.1:{server.port}"
    with urllib.request.urlopen(f"http://{address}", timeout=20) as page:
        assert page.status == 200
        assert b"<html" in page.read()
    protocol = Subprotocol(f"viser-v{viser.__version__}")
    with connect(f"ws://{address}", subprotocols=[protocol], max_size=None) as client:
        assert len(client.recv(timeout=20)) > 0
        received = 0
        for tick in range(20):
            server.session.tick()
            server.refresh(tick / 30)
        try:
            while True:
                received += len(client.recv(timeout=1.0))
        except TimeoutError:
            pass
        assert received > 10_000  # shapes of the robot, panels, and where it went


def test_it_stops_cleanly(make_server: MakeServer) -> None:
    server = make_server("pendulum_swingup")
    server.loop.start()
    server.close()
    server.close()  # and once more does no harm
    assert not any(t.name == "play" for t in threading.enumerate())
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=2.0)


def test_sliders_reach_the_session(make_server: MakeServer) -> None:
    server = make_server()
    session = server.session
    server.command[0].value = 0.5
    assert session.view().command.tolist() == [0.5, 0.0, 0.0]
    server.physics["payload"].value = 2.0
    server.physics["friction"].value = 0.4
    world = session.env.world
    assert float(world.parameter("payload")[0, 0]) == pytest.approx(2.0, abs=0.03)
    assert float(world.parameter("friction")[0, 0]) == pytest.approx(0.4, abs=0.01)
    server.policy.value = "teacher"
    assert session.policy == "teacher"
    session.tick()
    server.refresh(0.0)
    assert server.text(session.view()).startswith("**teacher**")


def test_keys_and_buttons_nudge_the_command_within_its_range(make_server: MakeServer) -> None:
    server = make_server()
    server.nudge(0, 1)
    assert server.session.view().command[0] == pytest.approx(0.375)  # a quarter of 1.5
    for _ in range(9):
        server.nudge(0, 1)
        server.nudge(2, -1)
    assert server.session.view().command.tolist() == [pytest.approx(1.5), 0.0, pytest.approx(-1.2)]
    server.stop()
    assert server.session.view().command.tolist() == [0.0, 0.0, 0.0]
    server.strength.value = 0.6
    server.push("from left")
    push = server.session.view().push
    assert push[1] == pytest.approx(-0.6, abs=0.01)  # towards the right of a robot that heads along x


def test_pause_step_and_reset(make_server: MakeServer) -> None:
    server = make_server("pendulum_swingup")
    server.pause.value = True
    server.loop.start()
    server.step()
    end = time.monotonic() + 20.0
    while server.session.ticks < 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert server.session.ticks == 1
    server.reset()
    assert server.session.view().since_fall_s == 0.0
    assert "paused" in server.text(server.session.view())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_the_panels_that_make_sense(make_server: MakeServer, task: str) -> None:
    server = make_server(task)
    config = server.session.task
    assert len(server.command) == (len(config.command.elements) if config.command else 0)
    assert hasattr(server, "strength") == (config.push is not None)
    assert hasattr(server, "follow") == (config.reset.height > 0)
    assert set(server.physics) == set(server.session.parameters)
    for tick in range(30):
        server.session.tick()
        server.refresh(tick / 3)
    assert len(server.terms) == 3
    server.terms[0].value = server.session.traces.names[-1]
    server.refresh(100.0)


def test_the_floor_slides_below_a_robot_that_is_followed(make_server: MakeServer) -> None:
    server = make_server()
    picture = server.picture
    qpos = server.session.env.engine.state("qpos")
    qpos[0, 0] = 7.25
    server.refresh(0.0)
    side = server.session.view().qpos[1]
    followed = picture.world.position
    assert np.allclose(followed, (-7.25, -side, 0.0), atol=1e-6)
    assert np.allclose(picture.floor.position, (-0.25, -(side % 1.0), 0.0), atol=1e-6)
    server.follow.value = False
    qpos[0, 0] = 8.0
    server.refresh(0.1)
    assert np.allclose(picture.world.position, followed)


def test_a_newer_checkpoint_is_taken_up_and_said(
    make_server: MakeServer, save_policy: SavePolicy, tmp_path: Path
) -> None:
    server = make_server("cartpole_balance", "latest")
    old = server.session.drivers["teacher"]
    server.refresh(0.0)
    assert "following" in server.text(server.session.view())
    save_policy(tmp_path, "cartpole_balance", "teacher", seed=3)
    server.refresh(0.5)  # looked at once a second
    assert server.session.drivers["teacher"] is old
    server.refresh(1.5)
    assert server.session.drivers["teacher"] is not old
    assert "newer teacher taken up at" in server.text(server.session.view())


def test_the_first_policy_drives_at_once(make_server: MakeServer, save_policy: SavePolicy, tmp_path: Path) -> None:
    server = make_server("cartpole_balance", "latest")
    server.session.select("zero_action")
    for role in ("teacher", "student"):
        del server.session.drivers[role]  # training has saved nothing yet
    for tick, role in enumerate(("teacher", "student")):
        save_policy(tmp_path, "cartpole_balance", role)
        server.refresh(2.0 * tick)
        assert server.session.policy == server.policy.value == "teacher"
    assert list(server.session.drivers) == ["zero_action", "teacher", "student"]


def test_what_ends_the_simulation_ends_the_page(make_server: MakeServer) -> None:
    server = make_server("pendulum_swingup")
    server.loop.failure = RobodistillError("no such luck")
    with pytest.raises(RobodistillError, match="no such luck"):
        server.refresh(0.0)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_of_another_machine_is_refused(make_session: MakeSession, tmp_path: Path, host: str) -> None:
    session = make_session("pendulum_swingup")
    policies = Policies(RunFolder(tmp_path), session.env.spec)
    with pytest.raises(RobodistillError, match=f"play.host={host}: this machine cannot listen there"):
        PlayServer(session, policies, host, 0)


def test_a_port_that_is_taken_is_passed_over(make_server: MakeServer, make_session: MakeSession) -> None:
    first = make_server("pendulum_swingup")
    session = make_session("pendulum_swingup")
    second = PlayServer(session, first.policies, "127.0.0.1", first.port)
    try:
        assert second.port > first.port
    finally:
        second.close()


def test_the_address_is_said_with_the_way_to_it() -> None:
    assert "http://127.0.0.1:8080" in reach_text("127.0.0.1", 8080)
    assert "ssh -L 8080:127.0.0.1:8080 " in reach_text("127.0.0.1", 8080)
    assert "anybody" in reach_text("0.0.0.0", 8080)
    assert "ssh" not in reach_text("0.0.0.0", 8080)
