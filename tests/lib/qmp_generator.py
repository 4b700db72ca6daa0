# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP requests made by the schema that a daemon tells, right and wrong."""
import json
import random

WORDS = ['a', 'z', '', 'c', 'nbd', 'qcow2', 'null-co', 'raw', 'safe', 'hard', 'ringbuf', 'null', 'unix', 'base64',
         '/objects', '/chardevs/c', 'type', '#block000', 'x' * 40, 'é', 'iothread', 'throttle-group', 'e', 'r']
NUMBERS = [0, 1, -1, 512, 65536, 2**31, 2**32, 2**63 - 1, -2**63, 1.5, 1e300]


class Generator:
    """Requests by the schema that the daemon tells, with members missing, added and of wrong types."""

    def __init__(self, schema, seed, words=()):
        self.words = WORDS + list(words) * 4
        self.types = {e['name']: e for e in schema}
        self.commands = [e for e in schema if e['meta-type'] == 'command' and e['name'] not in ('quit', )]
        self.random = random.Random(seed)

    def anything(self, depth=0):
        kind = self.random.randrange(8 if depth < 3 else 5)
        return [None, True, self.random.choice(NUMBERS), self.random.choice(self.words), self.random.choice(self.words),
                [], {}, [self.random.choice(self.words)]][kind]

    def value(self, name, depth=0):
        if self.random.random() < .04 or depth > 6:
            return self.anything(depth)
        t = self.types[name]
        return getattr(self, t['meta-type'])(t, depth)

    def builtin(self, t, depth):
        return {'string': lambda: self.random.choice(self.words), 'int': lambda: self.random.choice(NUMBERS[:-2]),
                'boolean': lambda: self.random.random() < .5, 'number': lambda: self.random.choice(NUMBERS),
                'null': lambda: None}.get(t['json-type'], lambda: self.anything(depth))()

    def enum(self, t, depth):
        return self.random.choice(t['values'])

    def array(self, t, depth):
        return [self.value(t['element-type'], depth + 1) for _ in range(self.random.randrange(3))]

    def alternate(self, t, depth):
        return self.value(self.random.choice(t['members'])['type'], depth + 1)

    def object(self, t, depth):
        made = {}
        for m in t['members']:
            if self.random.random() < (.3 if 'default' in m else .95):
                made[m['name']] = self.value(m['type'], depth + 1)
        if 'tag' in t and isinstance(made.get(t['tag']), str):
            case_type = {v['case']: v['type'] for v in t['variants']}.get(made[t['tag']])
            if case_type:
                made.update(self.object(self.types[case_type], depth))
        if self.random.random() < .03:
            made[self.random.choice(self.words)] = self.anything()
        return made

    def request(self, n):
        command = self.random.choice(self.commands)
        arguments = self.value(command['arg-type'])
        if self.random.random() < .02:
            arguments = self.anything()
        return json.dumps({'execute': command['name'], 'arguments': arguments, 'id': n})


def is_tame(text):
    """Not one that waits for others, reads from the terminal, or puts an export where files are opened."""
    return not any(w in text for w in ('"wait": true', '"stdio"', '"nbd", "server"', '"inet"', '"vsock"',
                                       'secret_keyring', '"fuse"', '"authz-pam"', '"server": {'))
