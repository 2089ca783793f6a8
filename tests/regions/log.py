"""What the observers have written down, read as it grows."""

import json

import atlas

EVENT = ("at", "what", "who", "about", "value")


class Log:
    """The lines of one observer."""

    def __init__(self, helper, path):
        self.helper, self.path, self.at, self.lines, self.now = helper, path, 0, [], {}

    def read(self):
        """All lines so far; for those of the watch, `now` has what was said last."""
        self.helper.ask("write")
        with open(self.path) as file:
            file.seek(self.at)
            new = [json.loads(line) for line in file]
            self.at = file.tell() if not new else file.seek(0, 2)
        for line in new:
            self.now[tuple(line[1:4])] = line[4]
        self.lines += new
        return self.lines


def named_by_all(watch):
    """True if every server names both nodes of each zone to clients that are nearest to it."""
    watch.read()
    for server in atlas.NODES:
        for zone in atlas.ZONES:
            there = [node for node, of in atlas.NODES.items() if of == zone]
            if not set(there) <= set(watch.now.get(("dns", server, zone)) or []):
                return False
    return True


def still_named(watch, failure):
    """True if a server that can be heard names a victim to clients that are nearest to it."""
    watch.read()
    for (what, server, zone), value in watch.now.items():
        is_heard = what == "dns" and value and not (failure.is_mute and server in failure.victims)
        if is_heard and set(value) & {victim for victim in failure.victims if atlas.NODES[victim] == zone}:
            return True
    return False
