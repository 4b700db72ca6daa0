#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""gen.py SCHEMA OUT.c OUT.h: checks the schema and writes it as C.

OUT.h has a C enum and a table of names for every enum; OUT.c has constant tables that
qapi/schema.c checks values against. What expressions look like is told in schema.json.
"""
import ast
import pathlib
import re
import sys

INT64_MAX = 2**63 - 1

# name: (scalar in qapi/types.h, least, greatest)
BUILTINS = {
    'str': ('STR', 0, 0), 'bool': ('BOOL', 0, 0), 'number': ('NUMBER', 0, 0),
    'null': ('NULL', 0, 0), 'any': ('ANY', 0, 0),
    'int': ('INT', -INT64_MAX - 1, INT64_MAX),
    'size': ('SIZE', 0, INT64_MAX),
    **{f'int{n}': ('INT', -2**(n - 1), 2**(n - 1) - 1) for n in (8, 16, 32, 64)},
    **{f'uint{n}': ('INT', 0, min(2**n - 1, INT64_MAX)) for n in (8, 16, 32, 64)},
}

KEYS = {  # of an expression, by its kind: needed, allowed
    'include': ((), ()),
    'enum': (('data',), ('aliases',)),
    'struct': (('data',), ('base', 'features')),
    'union': (('data', 'base', 'discriminator'), ('untagged',)),
    'alternate': (('data',), ()),
}


class SchemaError(Exception):
    pass


class Expression:
    """One dictionary of a schema file, with the place it stands at."""

    def __init__(self, path, line, data):
        self.where = f'{path.name}:{line}'
        self.require(isinstance(data, dict), 'an expression must be a dictionary')
        kinds = [k for k in KEYS if k in data]
        self.require(len(kinds) == 1, f'an expression has one of {", ".join(KEYS)}')
        self.kind, self.body = kinds[0], data
        self.name = data[self.kind]
        needed, allowed = KEYS[self.kind]
        for key in needed:
            self.require(key in data, f"'{self.name}' has no '{key}'")
        for key in data:
            self.require(key in (self.kind, *needed, *allowed), f"'{self.name}' has a '{key}'")

    def require(self, condition, message):
        if not condition:
            raise SchemaError(f'{self.where}: {message}')


def read(path, seen):
    """Yields the expressions of a file and of those it includes, each file once."""
    if path in seen:
        return
    seen.add(path)
    for statement in ast.parse(path.read_text(), str(path)).body:
        e = Expression(path, statement.lineno, ast.literal_eval(statement.value))
        if e.kind == 'include':
            yield from read(path.parent / e.name, seen)
        else:
            yield e


class Member:
    def __init__(self, key, spec, expression):
        self.optional = key.startswith('*')
        self.name = key.lstrip('*')
        self.features = []
        if isinstance(spec, dict):
            expression.require(set(spec) <= {'type', 'features'}, f"odd member '{key}'")
            self.features = spec.get('features', [])
            spec = spec['type']
        self.is_list = isinstance(spec, list)
        self.type = spec[0] if self.is_list else spec
        expression.require(re.fullmatch(r'[a-z][a-z0-9_-]*', self.name), f"odd name '{key}'")


class Schema:
    def __init__(self, path):
        self.types = {}
        for e in read(path, set()):
            e.require(e.name not in self.types and e.name not in BUILTINS, f"second '{e.name}'")
            e.require(re.fullmatch(r'[A-Z][A-Za-z0-9]*', e.name), f"odd name '{e.name}'")
            self.types[e.name] = e
        self.arrays = set()
        for e in self.types.values():
            getattr(self, 'check_' + e.kind)(e)

    def check_enum(self, e):
        values = e.body['data']
        e.require(len(set(values)) == len(values) > 0, 'values are missing or twice there')
        for alias, value in e.body.get('aliases', {}).items():
            e.require(alias not in values and value in values, f"odd alias '{alias}'")

    def check_struct(self, e):
        self.check_members(e, self.members(e))

    def check_union(self, e):
        self.check_members(e, self.members(e))
        tag = next((m for m in self.members(e) if m.name == e.body['discriminator']), None)
        e.require(tag and not tag.optional and not tag.is_list and self.is_kind(tag.type, 'enum'),
                  'the discriminator must be a mandatory enum of the base')
        for case, name in e.body['data'].items():
            e.require(case in self.types[tag.type].body['data'], f"no such case '{case}'")
            e.require(self.is_kind(name, 'struct'), f"case '{case}' is not a struct")
            shared = {m.name for m in self.members(e)} & {m.name for m in self.fields(name)}
            e.require(not shared, f"case '{case}' repeats {shared}")
        e.require(e.body.get('untagged') in (None, *e.body['data']), 'untagged is no case')

    def check_alternate(self, e):
        self.check_members(e, [Member(k, v, e) for k, v in e.body['data'].items()])
        kinds = [self.json_kind(name) for name in e.body['data'].values()]
        e.require(len(set(kinds)) == len(kinds), 'two branches have the same JSON type')

    def check_members(self, e, members):
        names = [m.name for m in members]
        e.require(len(set(names)) == len(names), 'a member is twice there')
        for m in members:
            e.require(m.type in self.types or m.type in BUILTINS, f"no type '{m.type}'")
            if m.is_list:
                self.arrays.add(m.type)

    def is_kind(self, name, kind):
        return name in self.types and self.types[name].kind == kind

    def json_kind(self, name):
        if name in BUILTINS:
            return 'INT' if name == 'size' else BUILTINS[name][0]
        return {'enum': 'STR', 'alternate': 'ANY'}.get(self.types[name].kind, 'OBJECT')

    def fields(self, name):
        e = self.types.get(name)
        if not e or e.kind != 'struct':
            raise SchemaError(f"base '{name}' is not a struct")
        return self.members(e)

    def members(self, e):
        """Members of a struct, or those all cases of a union share; the base's first."""
        own, base = e.body['data'], e.body.get('base', {})
        if e.kind == 'union':
            own = {}
        if isinstance(base, str):
            inherited = self.fields(base)
        else:
            inherited = [Member(k, v, e) for k, v in base.items()]
        return inherited + [Member(k, v, e) for k, v in own.items()]


# ---- C ----

def snake(name):
    name = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name)
    return re.sub(r'([A-Z])([A-Z][a-z])', r'\1_\2', name).lower()


def constant(*words):
    return re.sub(r'[^A-Z0-9_]', '_', '_'.join(words).upper())


def string(text):
    return '"' + text + '"'


def wrapped(items, indent='    '):
    """Items behind commas on lines of at most 100 columns."""
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + 2 > 100 and line != indent:
            lines.append(line.rstrip())
            line = indent
        line += item + ', '
    return '\n'.join([*lines, line.rstrip()])


def header(schema):
    yield '/* Made by qapi/gen.py. */'
    yield '#ifndef GEN_SCHEMA_H\n#define GEN_SCHEMA_H\n\n#include "qapi/schema.h"'
    for e in schema.types.values():
        if e.kind == 'enum':
            prefix = snake(e.name)
            values = [constant(prefix, v) for v in e.body['data']] + [constant(prefix, '_COUNT')]
            yield f'\n/* {e.where} */'
            yield f'typedef enum {{\n{wrapped(values)}\n}} {e.name};'
            yield f'extern const SchemaEnum {prefix}_enum;'
    yield '\n#endif'


class Source:
    """Lines of the C file. Types refer to each other, so all are declared first."""

    def __init__(self, schema):
        self.schema = schema
        self.names = [*BUILTINS, *schema.types]

    def lines(self):
        yield '/* Made by qapi/gen.py. */'
        yield '#include "gen/schema.h"\n#include "qapi/types.h"\n'
        for name in self.names:
            yield f'static const SchemaType type_{name};'
        for name in sorted(self.schema.arrays):
            yield f'static const SchemaType list_{name};'
        for name, (scalar, low, high) in BUILTINS.items():
            low = f'INT64_C({low})' if low > -INT64_MAX - 1 else 'INT64_MIN'
            yield self.type(name, f'.meta = SCHEMA_BUILTIN, .scalar = SCHEMA_{scalar}, '
                                  f'.min = {low}, .max = INT64_C({high})')
        for name in sorted(self.schema.arrays):
            yield (f'static const SchemaType list_{name} = {{ .name = "[{name}]", '
                   f'.meta = SCHEMA_ARRAY, .element = &type_{name} }};')
        for e in self.schema.types.values():
            yield f'\n/* {e.where} */'
            yield from getattr(self, e.kind)(e)
        yield '\nconst SchemaType *const schema_types[] = {'
        every = [f'&type_{n}' for n in self.names]
        yield wrapped([*every, *(f'&list_{n}' for n in sorted(self.schema.arrays)), 'NULL'])
        yield '};'

    def type(self, name, fields):
        return f'static const SchemaType type_{name} = {{ .name = "{name}", {fields} }};'

    def enum(self, e):
        names = f'names_{e.name}'
        aliases = e.body.get('aliases', {})
        yield f'static const char *const {names}[] = {{'
        yield wrapped([*map(string, e.body['data']), 'NULL'])
        yield '};'
        if aliases:
            yield f'static const SchemaAlias aliases_{e.name}[] = {{'
            for alias, value in aliases.items():
                yield f'    {{ "{alias}", {e.body["data"].index(value)} }},'
            yield '    {},\n};'
        yield (f'const SchemaEnum {snake(e.name)}_enum = {{ .name = "{e.name}", .names = {names}, '
               f'.count = {len(e.body["data"])}'
               + (f', .aliases = aliases_{e.name}' if aliases else '') + ' };')
        yield self.type(e.name, f'.meta = SCHEMA_ENUM, .values = &{snake(e.name)}_enum')

    def member_table(self, e, members):
        for m in members:
            if m.features:
                yield (f'static const char *const features_{e.name}_{constant(m.name)}[] = '
                       f'{{ {", ".join(map(string, m.features))}, NULL }};')
        yield f'static const SchemaMember members_{e.name}[] = {{'
        for m in members:
            kind = 'list' if m.is_list else 'type'
            features = f', .features = features_{e.name}_{constant(m.name)}' if m.features else ''
            optional = ', .optional = true' if m.optional else ''
            yield f'    {{ "{m.name}", &{kind}_{m.type}{optional}{features} }},'
        yield '    {},\n};'

    def struct(self, e):
        features = e.body.get('features', [])
        if features:
            yield (f'static const char *const features_{e.name}[] = '
                   f'{{ {", ".join(map(string, features))}, NULL }};')
        yield from self.member_table(e, self.schema.members(e))
        yield self.type(e.name, f'.meta = SCHEMA_OBJECT, .members = members_{e.name}'
                        + (f', .features = features_{e.name}' if features else ''))

    def union(self, e):
        members = self.schema.members(e)
        tag = next(i for i, m in enumerate(members) if m.name == e.body['discriminator'])
        enum = snake(members[tag].type)
        yield from self.member_table(e, members)
        yield f'static const SchemaType *const cases_{e.name}[{constant(enum, "_COUNT")}] = {{'
        for case, name in e.body['data'].items():
            yield f'    [{constant(enum, case)}] = &type_{name},'
        yield '};'
        untagged = e.body.get('untagged')
        yield self.type(e.name, f'.meta = SCHEMA_OBJECT, .members = members_{e.name}, '
                                f'.tag = &members_{e.name}[{tag}], .cases = cases_{e.name}'
                        + (f', .untagged = &type_{e.body["data"][untagged]}' if untagged else ''))

    def alternate(self, e):
        yield from self.member_table(e, [Member(k, v, e) for k, v in e.body['data'].items()])
        yield self.type(e.name, f'.meta = SCHEMA_ALTERNATE, .members = members_{e.name}')


def main(schema_path, c_path, h_path):
    try:
        schema = Schema(pathlib.Path(schema_path))
    except (SchemaError, SyntaxError, ValueError) as error:
        sys.exit(f'gen.py: {error}')
    pathlib.Path(c_path).write_text('\n'.join(Source(schema).lines()) + '\n')
    pathlib.Path(h_path).write_text('\n'.join(header(schema)) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
