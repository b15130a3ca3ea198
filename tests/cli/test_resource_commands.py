"""`coord resource …` and what tasks want, as a person types it: exit codes, what is printed, and the next step."""

from __future__ import annotations

from tests.commands import Coord

OF = ("--project", "shop")
AS_ANN = ("--agent", "ann")


def test_resources_from_their_definition_to_the_last_release(coord: Coord) -> None:
    coord("session", "create", "--mode", "testing", *OF, "--name", "s1")
    coord("agent", "register", "ann", *OF, "--team", "qa", "--slots", "9")
    unknown = coord.fails(3, "resource", "allocate", "gpu", *OF)
    assert "coord resource define gpu --project shop --capacity N" in unknown.stderr
    coord("resource", "define", "gpu", *OF, "--capacity", "2")
    coord.fails(5, "task", "submit", "shop.s1", "--title", "x", "--resource", "files:/etc")
    coord.fails(2, "task", "submit", "shop.s1", "--title", "x", "--resource", "gpu=0")
    for task in ("a", "b"):
        wants = ("--resource", "gpu=2", "--resource", f"files:src/{task}/**")
        coord("task", "submit", "shop.s1", "--id", task, "--title", task, *wants)
    assert coord("task", "next", "shop.s1", *AS_ANN, "--claim").json["id"] == "a"
    assert coord("task", "next", "shop.s1", *AS_ANN, "--claim").json is None
    assert coord("task", "why", "shop.s1", "b").json["reasons"][0] == "it waits for 2 of gpu: 2 of 2 in use"
    assert coord.fails(4, "resource", "allocate", "gpu", *OF).error["message"] == "gpu: 2 of 2 in use"
    coord.fails(7, "resource", "allocate", "gpu", *OF, "--wait", "50ms")
    gpu, *paths = coord("resource", "list", "shop").json
    assert (gpu["name"], gpu["in_use"], gpu["held_by"][0]["task"], gpu["waiting"][0]["task"]) == ("gpu", 2, "a", "b")
    assert [one["name"] for one in paths] == ["files:src/a/**", "files:src/b/**"]
    used = ("--usage", '{"input_tokens": 10, "output_tokens": 5}')
    assert coord("task", "complete", "shop.s1", "a", *AS_ANN, *used).json["usage"] == {
        "input_tokens": 10,
        "output_tokens": 5,
    }
    mine = coord.fails(4, "resource", "allocate", "gpu", *OF).error
    assert mine["message"] == "gpu: 2 of 2 free, kept for task b of session s1"
    coord("task", "cancel", "shop.s1", "b")
    token = str(coord("resource", "allocate", "gpu", *OF, "--owner", "me").json["token"])
    coord.fails(4, "resource", "delete", "gpu", *OF)
    coord("resource", "renew", "gpu", token, *OF, "--ttl", "5m")
    coord("resource", "release", "gpu", token, *OF)
    coord.fails(4, "resource", "release", "gpu", token, *OF)
    coord("resource", "delete", "gpu", *OF)


def test_who_gets_nothing_because_of_a_limit_is_told(coord: Coord) -> None:
    coord("session", "create", "--mode", "testing", *OF, "--name", "s1")
    coord("agent", "register", "ann", *OF, "--team", "qa")
    coord("task", "submit", "shop.s1", "--title", "x", "--team", "qa")
    coord.fails(5, "shared", "set-config", "shop", "limits.teams.qa.runing", "1")
    coord("shared", "set-config", "shop", "limits.teams.qa.running", "0")
    nothing = coord.run("task", "next", "shop.s1", *AS_ANN, "--claim")
    assert (nothing.json, "team qa may run 0 tasks at once" in nothing.stderr) == (None, True)
