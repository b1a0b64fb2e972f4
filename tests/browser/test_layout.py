"""The layout of topologies, for graphs of chance: nothing lies on something else."""

import random
from typing import Any

import pytest

from tests.browser.replay import Replay
from tests.browser.watched import Watched

GRAPHS = 25
ROOMS = [330, 900, 1_400]

# Returns, for each layout, what lies on what, and the pipes that go through a box that they
# neither leave nor enter.
FAULTS = """async ({graphs, rooms}) => {
  const { layout } = await import("/static/layout.js");
  const meet = (one, other) =>
    one.x < other.x + other.width && other.x < one.x + one.width &&
    one.y < other.y + other.height && other.y < one.y + one.height;
  const within = ({ x, y }, box) =>
    x > box.x && x < box.x + box.width && y > box.y && y < box.y + box.height;
  const found = [];
  graphs.forEach((steps, graph) => rooms.forEach((room) => {
    const placed = layout(steps, room);
    const fault = (what) => found.push(`graph ${graph}, room ${room}: ${what}`);
    const nodes = [...placed.nodes.values()];
    const pairs = (all, what) => all.forEach((one, at) => all.slice(at + 1).forEach((other) => {
      if (meet(one, other)) fault(`${what} lie on each other`);
    }));
    pairs(placed.boxes, "boxes");
    pairs(nodes.map((node) => ({ ...node, height: node.slot })), "steps");
    if (nodes.length !== steps.length) fault("steps are missing");
    for (const box of placed.boxes) {
      for (const { x, y, width, slot } of box.nodes) {
        const corners = [{ x, y }, { x: x + width, y: y + slot }];
        if (!corners.every((corner) => within(corner, box))) fault("a step is outside of its box");
      }
      if (box.x < 0 || box.x + box.width > placed.width || box.y + box.height > placed.height) {
        fault("a box is outside of the picture");
      }
    }
    for (const pipe of placed.pipes) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", pipe.path);
      const length = path.getTotalLength();
      for (let at = 0; at < length; at += 5) {
        const point = path.getPointAtLength(at);
        const hit = placed.boxes.find((box) => within(point, box));
        if (hit && hit !== pipe.from && hit !== pipe.to) fault("a pipe goes through a box");
      }
    }
  }));
  return [...new Set(found)];
}"""


def graph(seed: int, *, parts: int) -> list[dict[str, Any]]:
    """Sub-topologies of any shape, each fed by one before it or by a topic of its own."""
    draw = random.Random(seed)
    steps: list[dict[str, Any]] = []
    topics = ["input"]
    for part in range(parts):
        own: list[str] = []
        read = topics.pop(draw.randrange(len(topics))) if topics else f"input-{part}"
        for number in range(draw.randint(1, 9)):
            before = draw.sample(own, k=min(len(own), draw.choice([1, 1, 1, 2])))
            sink = f"topic-{part}-{number}" if before and draw.random() < 0.4 else None
            topics += [sink] if sink else []
            steps.append(
                {
                    "id": f"n{len(steps)}",
                    "subTopology": part,
                    "parents": before,
                    "stores": [f"s{at}" for at in range(draw.choice([0, 0, 0, 1, 2]))],
                    "topics": [] if before else [read],
                    "sink": sink,
                    "width": draw.randint(62, 200),
                    "height": draw.choice([27, 42, 57]),
                }
            )
            own.append(steps[-1]["id"])
    return steps


@pytest.mark.parametrize("parts", [1, 2, 6])
def test_nothing_lies_on_something_else(watched: Watched, parts: int) -> None:
    with Replay() as replay:
        page = watched.open(replay.address)
        page.wait_for("#link", "live")
        graphs = [graph(seed, parts=parts) for seed in range(GRAPHS)]
        faults = page.page.evaluate(FAULTS, {"graphs": graphs, "rooms": ROOMS})
    assert faults == []
