#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""gen.py SCHEMA FOLDER, or gen.py SCHEMA OUT.c SOURCE...: checks the schema and writes it as C.

FOLDER/schema.h has a C enum and a table of names for every enum, schema.c constant tables that the
checks of qapi/ go by. FOLDER/qmp.h has structs for what commands take and return, the prototypes of
commands and a function for each event; qmp.c what belongs to the structs and the events.

OUT.c is the table of the commands that the files SOURCE implement, for one program. What
expressions look like is told in schema.json.
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
    'struct': (('data',), ('base', 'features', 'json')),
    'union': (('data', 'base', 'discriminator'), ('untagged',)),
    'alternate': (('data',), ()),
    'command': ((), ('data', 'returns', 'allow-oob', 'allow-preconfig', 'open', 'without-nodes',
                     'features', 'doc')),
    'event': ((), ('data', 'features', 'doc', 'with')),
    'create-options': (('data',), ('from', 'without')),
    'amend-options': (('data',), ('from', 'without')),
}
OPTION_TABLES = ('create-options', 'amend-options')
NAMES = {'command': '[a-z][a-z0-9_-]*', 'event': '[A-Z][A-Z0-9_]*',
         **dict.fromkeys(OPTION_TABLES, '[a-z][a-z0-9_]*')}


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


class Booleans(ast.NodeTransformer):
    """The schema writes true and false as JSON does."""

    def visit_Name(self, node):
        return ast.Constant({'true': True, 'false': False}[node.id])


def read(path, seen):
    """Yields the expressions of a file and of those it includes, each file once."""
    if path in seen:
        return
    seen.add(path)
    for statement in ast.parse(path.read_text(), str(path)).body:
        value = ast.literal_eval(Booleans().visit(statement.value))
        e = Expression(path, statement.lineno, value)
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
        expression.require(re.fullmatch(r'[a-z][a-z0-9_-]*|UUID', self.name), f"odd name '{key}'")


def type_name(spec):
    """What introspection calls the type of @spec, a name or a list of one."""
    return f'[{spec[0]}]' if isinstance(spec, list) else spec


class Schema:
    def __init__(self, path):
        self.types, self.commands, self.events = {}, {}, {}
        self.options = {kind: {} for kind in OPTION_TABLES}
        for e in read(path, set()):
            found = {'command': self.commands, 'event': self.events,
                     **self.options}.get(e.kind, self.types)
            e.require(e.name not in found and e.name not in BUILTINS, f"second '{e.name}'")
            e.require(re.fullmatch(NAMES.get(e.kind, '[A-Z][A-Za-z0-9]*'), e.name),
                      f"odd name '{e.name}'")
            found[e.name] = e
        self.arrays = set()
        for e in [*self.commands.values(), *self.events.values()]:
            self.name_data(e)
        for e in [*self.types.values(), *self.commands.values(), *self.events.values()]:
            getattr(self, 'check_' + e.kind)(e)
        for table in self.options.values():
            for e in table.values():
                self.check_options(e)

    def name_data(self, e):
        """Members that a command or event has of its own become a struct with a name."""
        data = e.body.get('data')
        if isinstance(data, dict):
            kind = 'Args' if e.kind == 'command' else 'Data'
            name = 'Qmp' + ''.join(w.capitalize() for w in re.split('[-_]', e.name)) + kind
            e.require(name not in self.types, f"second '{name}'")
            e.body['data'] = name
            struct = Expression.__new__(Expression)
            struct.where, struct.kind, struct.name = e.where, 'struct', name
            struct.body = {'struct': name, 'data': data}
            self.types[name] = struct

    def check_command(self, e):
        data, returns = e.body.get('data'), e.body.get('returns')
        e.require(data is None or self.is_kind(data, 'struct') or self.is_kind(data, 'union'),
                  "'data' is neither members nor a struct or union")
        if returns is not None:
            element = returns[0] if isinstance(returns, list) else returns
            e.require(element in self.types or element in BUILTINS, f"no type '{element}'")
            if isinstance(returns, list):
                self.arrays.add(element)

    def check_event(self, e):
        e.require(e.body.get('data') is None or self.is_kind(e.body['data'], 'struct'),
                  "'data' is neither members nor a struct")
        e.require(e.body.get('with') in (None, *self.commands), "'with' is no command")

    def option_members(self, name, prefix=''):
        """Types of the members of struct @name, in it and in its structs and unions, by dotted names."""
        e, found = self.types[name], {}
        for m in self.members(e):
            inner = self.types.get(m.type)
            if inner and inner.kind == 'union':
                found |= self.option_members(m.type, f'{prefix}{m.name}.')
            else:
                found[prefix + m.name] = m.type
        for case in e.body['data'].values() if e.kind == 'union' else ():
            found |= self.option_members(case, prefix)
        return found

    def check_options(self, e):
        """Gives each option its type; all members of the struct are options or left out by name."""
        members = self.option_members(e.body['from']) if 'from' in e.body else {}
        left = set(members) - set(e.body.get('without', []))
        e.require(set(e.body.get('without', [])) <= set(members), "'without' has what is no member")
        for name, option in e.body['data'].items():
            e.require('doc' in option and set(option) <= {'doc', 'default', 'type', 'member'},
                      f"odd option '{name}'")
            member = option.get('member', name.replace('_', '-') if name not in members else name)
            e.require(member in members or 'type' in option, f"no type for option '{name}'")
            option.setdefault('type', members.get(member))
            left.discard(member)
        e.require(not left, f'members {sorted(left)} are neither options nor left out')

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
    yield '\n/* Options of -o, by driver. */'
    for name, _ in option_tables(schema):
        yield f'extern const CreateOpt {name}[];'
    yield '\n#endif'


def option_kind(name):
    """The type of an option in C, from that of the schema."""
    return {'bool': 'OPT_BOOL', 'size': 'OPT_SIZE', 'int': 'OPT_NUM'}.get(name, 'OPT_STR')


def option_tables(schema):
    for kind, tables in schema.options.items():
        for e in tables.values():
            yield f'{kind.split("-")[0]}_opts_{e.name}', e


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
        yield '};\n'
        yield from self.events()
        for name, e in option_tables(self.schema):
            yield f'\n/* {e.where} */\nconst CreateOpt {name}[] = {{'
            for option, o in e.body['data'].items():
                default = f', {string(o["default"])}' if 'default' in o else ''
                yield (f'    {{ "{option}", {option_kind(o["type"])}, {string(o["doc"])}{default} }},')
            yield '    {},\n};'

    def events(self):
        for e in self.schema.events.values():
            yield from self.feature_list(e.name, e)
        yield 'const SchemaEvent schema_events[] = {'
        for e in self.schema.events.values():
            data = e.body.get('data')
            with_ = f'"{e.body["with"]}"' if 'with' in e.body else 'NULL'
            yield (f'    {{ "{e.name}", {f"&type_{data}" if data else "NULL"}, '
                   f'{self.feature_name(e.name, e)}, {with_} }}, /* {e.where} */')
        yield '    {},\n};'

    @staticmethod
    def feature_name(name, e):
        return f'features_{name}' if e.body.get('features') else 'NULL'

    def feature_list(self, name, e):
        features = e.body.get('features', [])
        if features:
            yield (f'static const char *const {self.feature_name(name, e)}[] = '
                   f'{{ {", ".join(map(string, features))}, NULL }};')

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
        yield from self.feature_list(e.name, e)
        yield from self.member_table(e, self.schema.members(e))
        yield self.type(e.name, f'.meta = SCHEMA_OBJECT, .members = members_{e.name}, '
                                f'.features = {self.feature_name(e.name, e)}')

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


# ---- C of commands and events ----

RESERVED = {'default', 'register', 'static', 'return', 'switch', 'case', 'const', 'int', 'auto'}


def c_name(name):
    name = name.replace('-', '_')
    return name + '_' if name in RESERVED else name


class Kind:
    """How values of one type look in C."""

    def __init__(self, schema, spec):
        is_list = isinstance(spec, list)
        name = spec[0] if is_list else spec
        self.name = name
        e = schema.types.get(name)
        if name == 'str':
            self.form = 'strings' if is_list else 'string'
        elif e and e.kind == 'struct' and not e.body.get('json'):
            self.form = 'structs' if is_list else 'struct'
        elif not is_list and (name in BUILTINS and BUILTINS[name][0] in ('INT', 'SIZE', 'BOOL', 'NUMBER')
                              or e and e.kind == 'enum'):
            self.form = 'enum' if e else 'scalar'
        elif is_list and e and e.kind == 'enum':
            self.form = 'enums'
        else:
            self.form = 'json'
        self.is_value = self.form in ('scalar', 'enum')

    def c_type(self):
        """The type, with what stands in front of the name."""
        scalars = {'BOOL': 'bool ', 'NUMBER': 'double '}
        return {'string': 'char *', 'strings': 'char **', 'structs': 'GPtrArray *',
                'enums': 'GArray *', 'json': 'json_t *'}.get(self.form) or (
            f'{self.name} *' if self.form == 'struct' else
            f'{self.name} ' if self.form == 'enum' else
            scalars.get(BUILTINS[self.name][0], 'int64_t '))

    def free(self, x):
        return {'string': f'g_free({x});', 'strings': f'g_strfreev({x});',
                'json': f'json_decref({x});', 'struct': f'{snake(self.name)}_free({x});',
                'structs': f'g_clear_pointer(&{x}, g_ptr_array_unref);',
                'enums': f'g_clear_pointer(&{x}, g_array_unref);'}.get(self.form)

    def parse(self, v):
        """An expression that makes a value of the checked JSON @v."""
        if self.form == 'scalar':
            scalar = BUILTINS[self.name][0]
            return {'BOOL': f'json_is_true({v})', 'NUMBER': f'json_number_value({v})'}.get(
                scalar, f'json_integer_value({v})')
        prefix = snake(self.name)
        return {'string': f'g_strdup(json_string_value({v}))',
                'strings': f'qmp_strings_parse({v})', 'json': f'json_incref({v})',
                'enum': f'schema_enum_parse(&{prefix}_enum, json_string_value({v}))',
                'enums': f'qmp_enums_parse(&{prefix}_enum, {v})',
                'struct': f'{prefix}_parse({v})',
                'structs': f'qmp_structs_parse({v}, (gpointer (*)(const json_t *)){prefix}_parse, '
                           f'(GDestroyNotify){prefix}_free)'}[self.form]

    def to_json(self, x):
        if self.form == 'scalar':
            scalar = BUILTINS[self.name][0]
            return {'BOOL': f'json_boolean({x})', 'NUMBER': f'json_real({x})'}.get(
                scalar, f'json_integer({x})')
        prefix = snake(self.name)
        return {'string': f'json_string_nocheck({x})', 'strings': f'qmp_strings_to_json({x})',
                'json': f'json_incref({x})',
                'enum': f'json_string(schema_enum_name(&{prefix}_enum, {x}))',
                'enums': f'qmp_enums_to_json(&{prefix}_enum, {x})',
                'struct': f'{prefix}_to_json({x})',
                'structs': f'qmp_structs_to_json({x}, (json_t *(*)(gconstpointer)){prefix}_to_json)'
                }[self.form]


class Qmp:
    """Structs, prototypes and events; and the table of a program."""

    def __init__(self, schema):
        self.schema = schema
        self.parsed, self.printed = {}, {}
        for e in schema.commands.values():
            self.reach(self.parsed, e.body.get('data'))
            self.reach(self.printed, e.body.get('returns'))
        self.structs = [e for n, e in schema.types.items() if n in self.parsed or n in self.printed]

    def kind(self, spec):
        return Kind(self.schema, spec)

    def member_kind(self, m):
        return self.kind([m.type] if m.is_list else m.type)

    def reach(self, found, spec):
        """Adds the structs that a value of @spec consists of."""
        if spec is None or self.kind(spec).form not in ('struct', 'structs'):
            return
        name = self.kind(spec).name
        if name in found:
            return
        found[name] = True
        for m in self.schema.fields(name):
            self.reach(found, [m.type] if m.is_list else m.type)

    # The header.

    def header(self):
        yield '/* Made by qapi/gen.py. */'
        yield '#ifndef GEN_QMP_H\n#define GEN_QMP_H\n'
        yield '#include "gen/schema.h"\n#include "qapi/command.h"\n'
        for e in self.structs:
            yield f'typedef struct {e.name} {e.name};'
        for e in self.structs:
            yield f'\n/* {e.where} */'
            yield from self.struct(e)
        yield '\n/* ---- commands; which of them a program has is told by its sources ---- */\n'
        for e in self.schema.commands.values():
            yield f'/* {e.where}{". " + e.body["doc"] if "doc" in e.body else ""} */'
            yield f'CO {self.prototype(e)};'
        yield '\n/* ---- events; any thread ---- */\n'
        for e in self.schema.events.values():
            yield f'/* {e.where}{". " + e.body["doc"] if "doc" in e.body else ""} */'
            yield f'{self.event_prototype(e)};'
        yield '\n#endif'

    def struct(self, e):
        prefix = snake(e.name)
        yield f'struct {e.name} {{'
        for m in self.schema.members(e):
            if m.optional and self.member_kind(m).is_value:
                yield f'    bool has_{c_name(m.name)};'
            yield f'    {self.member_kind(m).c_type()}{c_name(m.name)};'
        yield '};'
        yield f'void {prefix}_free({e.name} *v);'
        yield f'G_DEFINE_AUTOPTR_CLEANUP_FUNC({e.name}, {prefix}_free)'
        if e.name in self.parsed:
            yield f'{e.name} *{prefix}_parse(const json_t *o);'
        if e.name in self.printed:
            yield f'json_t *{prefix}_to_json(const {e.name} *v);'

    def prototype(self, e):
        """Of the function that does the work of command @e."""
        data, returns = e.body.get('data'), e.body.get('returns')
        args = []
        if data and self.kind(data).form == 'struct':
            args.append(f'const {data} *args')
        elif data:
            args.append('json_t *args')
        if returns is not None:
            args.append(f'{self.kind(returns).c_type()}*ret')
        return f'bool qmp_{c_name(e.name)}({", ".join([*args, "GError **err"])})'

    def event_members(self, e):
        return self.schema.fields(e.body['data']) if e.body.get('data') else []

    def event_prototype(self, e):
        args = []
        for m in self.event_members(e):
            kind = self.member_kind(m)
            if m.optional and kind.is_value:
                args.append(f'bool has_{c_name(m.name)}')
            const = 'const ' if kind.form == 'string' else ''
            args.append(f'{const}{kind.c_type()}{c_name(m.name)}')
        return f'void event_{e.name.lower()}({", ".join(args) or "void"})'

    # The source.

    def source(self):
        yield '/* Made by qapi/gen.py. */'
        yield '#include "gen/qmp.h"\n#include "qapi/marshal.h"'
        for e in self.structs:
            yield f'\n/* {e.where} */'
            yield from self.free(e)
            if e.name in self.parsed:
                yield from self.parse(e)
            if e.name in self.printed:
                yield from self.to_json(e)
        for i, e in enumerate(self.schema.events.values()):
            yield f'\n/* {e.where} */'
            yield self.event_prototype(e)
            yield '{\n    json_t *o = json_object();\n'
            for m in self.event_members(e):
                yield from self.put(m, '')
            yield f'    qmp_event_emit({i}, o);\n}}'

    def free(self, e):
        members = [(m, self.member_kind(m).free(f'v->{c_name(m.name)}'))
                   for m in self.schema.members(e)]
        yield f'void {snake(e.name)}_free({e.name} *v)\n{{\n    if (!v)\n        return;'
        yield from (f'    {statement}' for m, statement in members if statement)
        yield '    g_free(v);\n}\n'

    def parse(self, e):
        yield f'{e.name} *{snake(e.name)}_parse(const json_t *o)\n{{'
        yield f'    {e.name} *v = g_new0({e.name}, 1);\n    json_t *m;\n'
        for m in self.schema.members(e):
            name = c_name(m.name)
            has = f'v->has_{name} = ' if m.optional and self.member_kind(m).is_value else ''
            yield f'    m = json_get(o, "{m.name}");'
            if has:
                yield f'    {has}m != NULL;'
            yield f'    if (m)\n        v->{name} = {self.member_kind(m).parse("m")};'
        yield '    return v;\n}\n'

    def to_json(self, e):
        yield f'json_t *{snake(e.name)}_to_json(const {e.name} *v)\n{{'
        yield '    json_t *o = json_object();\n'
        for m in self.schema.members(e):
            yield from self.put(m, 'v->')
        yield '    return o;\n}\n'

    def put(self, m, where):
        """Puts member @m of what C reaches by @where into the object o, unless it is absent."""
        kind, name = self.member_kind(m), c_name(m.name)
        if m.optional:
            yield f'    if ({where}{f"has_{name}" if kind.is_value else name})'
            yield f'        json_put(o, "{m.name}", {kind.to_json(where + name)});'
        else:
            yield f'    json_put(o, "{m.name}", {kind.to_json(where + name)});'

    # The table of a program.

    def table(self, sources):
        implemented = set()
        for path in sources:
            text = pathlib.Path(path).read_text()
            implemented |= set(re.findall(r'^CO bool qmp_(\w+)\(', text, re.M))
        commands = {c_name(n): e for n, e in self.schema.commands.items()}
        unknown = implemented - commands.keys()
        if unknown:
            raise SchemaError(f'no command for qmp_{", qmp_".join(sorted(unknown))}')
        yield '/* Made by qapi/gen.py. */\n#include "gen/qmp.h"\n#include "qapi/marshal.h"'
        mine = [e for name, e in commands.items() if name in implemented]
        for e in mine:
            yield f'\n/* {e.where} */'
            yield from self.marshal(e)
        yield '\nconst QmpCommand qmp_commands[] = {'
        for e in mine:
            yield from self.entry(e)
        yield '    {},\n};'

    def marshal(self, e):
        name, data, returns = c_name(e.name), e.body.get('data'), e.body.get('returns')
        features = e.body.get('features', [])
        if features:
            yield (f'static const char *const features_{name}[] = '
                   f'{{ {", ".join(map(string, features))}, NULL }};')
        yield f'static CO bool run_{name}(json_t *in, json_t **out, GError **err)\n{{'
        args = []
        if data and self.kind(data).form == 'struct':
            yield f'    g_autoptr({data}) args = {snake(data)}_parse(in);'
            args.append('args')
        elif data:
            args.append('in')
        if returns is not None:
            kind = self.kind(returns)
            empty = {'scalar': '0', 'enum': '0'}.get(kind.form, 'NULL')
            yield f'    {kind.c_type()}ret = {empty};'
            args.append('&ret')
        call = f'qmp_{name}({", ".join([*args, "err"])})'
        if returns is None:
            yield f'\n    return {call};\n}}'
            return
        yield f'    bool ok = {call};\n'
        yield f'    if (ok)\n        *out = {kind.to_json("ret")};'
        if kind.free('ret'):
            yield f'    {kind.free("ret")}'
        yield '    return ok;\n}'

    def entry(self, e):
        flags = ['QMP_OOB'] if e.body.get('allow-oob') else []
        flags += ['QMP_PRECONFIG'] if e.body.get('allow-preconfig') else []
        fields = [f'.name = "{e.name}"', f'.run = run_{c_name(e.name)}']
        if e.body.get('data'):
            fields.append(f'.arg_type = "{e.body["data"]}"')
        if e.body.get('returns') is not None:
            fields.append(f'.ret_type = "{type_name(e.body["returns"])}"')
        flags += ['QMP_OPEN'] if e.body.get('open') else []
        flags += ['QMP_WITHOUT_NODES'] if e.body.get('without-nodes') else []
        if flags:
            fields.append(f'.flags = {" | ".join(flags)}')
        if e.body.get('features'):
            fields.append(f'.features = features_{c_name(e.name)}')
        yield f'    {{\n{wrapped(fields, " " * 8)}\n    }},'


def write(path, lines):
    path.write_text('\n'.join(lines) + '\n')


def main(schema_path, out, *sources):
    out = pathlib.Path(out)
    try:
        schema = Schema(pathlib.Path(schema_path))
        qmp = Qmp(schema)
        if sources:
            write(out, list(qmp.table(sources)))
            return
    except (SchemaError, SyntaxError, ValueError, KeyError) as error:
        sys.exit(f'gen.py: {error}')
    write(out / 'schema.c', Source(schema).lines())
    write(out / 'schema.h', header(schema))
    write(out / 'qmp.c', qmp.source())
    write(out / 'qmp.h', qmp.header())


if __name__ == '__main__':
    main(*sys.argv[1:])
