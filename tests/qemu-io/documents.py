#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io's help, manual page and bash completion know the same options and commands."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve() / 'qemu-io'
FAILED = []


def judge(name, problems):
    problems = list(problems)
    print(f'not ok qemu-io/documents/{name} {problems[0]}' if problems else
          f'ok qemu-io/documents/{name}')
    FAILED.extend(problems)


def difference(what, a, b, in_a, in_b):
    for x in sorted(a - b):
        yield f'{what} {x} is in {in_a} only'
    for x in sorted(b - a):
        yield f'{what} {x} is in {in_b} only'


def run(*args):
    return subprocess.run([TOOL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True).stdout


def long_options(text):
    return set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', text))


def short_options(text):
    return set(re.findall(r'(?<![\w-])-[A-Za-z](?![\w-])', text))


def help_options():
    """Options of the lines of --help that start with one."""
    heads = '\n'.join(m[0] for m in re.finditer(r'(?m)^ {2,6}-\S+(, --\S+| \S+)*', run('--help')))
    return long_options(heads) | short_options(heads)


def page_section(name):
    text = (TOP / 'docs/man/qemu-io.1').read_text()
    return re.search(rf'(?ms)^\.SH {name}$(.*?)^\.SH ', text)[1].replace('\\-', '-')


def page_options():
    heads = re.findall(r'(?m)^\.TP\n(\..*)$', page_section('OPTIONS'))
    return long_options('\n'.join(heads)) | short_options('\n'.join(heads))


def plain(text):
    """A line of the page without its fonts."""
    return re.sub(r'\\f[A-Z]|"', '', text)


def page_commands():
    """From a command to its letters."""
    found = {}
    for line in re.findall(r'(?m)^\.T[PQ]\n(\.BR? .*)$', page_section('COMMANDS')):
        words = plain(line).split()[1:]
        found[words[0]] = ''.join(re.findall(r'(?<![\w-])-([A-Za-z]+)', plain(line)))
    return found


def help_commands():
    """From a command to its letters, of the lists in its own help."""
    found = {}
    for name in re.findall(r'(?m)^([a-z_]+) .*-- ', run('-c', 'help')):
        text = run('-c', f'help {name}')
        found[name] = ''.join(re.findall(r'(?m)^  -([A-Za-z])    ', text))
    return found


def completion_words(line):
    script = f'''source {shlex.quote(str(TOP / "scripts/completion/qemu-io"))}
compopt() {{ :; }}
COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_qemu_io; printf '%s\\n' "${{COMPREPLY[@]}}"'''
    done = subprocess.run(['bash', '-c', script], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def main():
    if not TOOL.exists():
        print('qemu-io is not built')
        return 77
    known, page, commands, documented = help_options(), page_options(), help_commands(), \
        page_commands()
    judge('help-knows-options', [] if len(known) > 30 else [f'only {sorted(known)} found'])
    judge('page-options', difference('option', known, page, '--help', 'the manual page'))
    judge('page-commands', difference('command', set(commands), set(documented), 'help',
                                      'the manual page'))
    judge('page-letters', (f'{c}: help has {sorted(set(commands[c]))}, the page '
                           f'{sorted(set(documented[c]))}' for c in sorted(commands)
                           if c in documented and set(commands[c]) != set(documented[c])))
    judge('completion-options', difference('option', known, completion_words('qemu-io -'), '--help',
                                           'the completion'))
    judge('completion-commands', difference('command', set(commands),
                                            completion_words("qemu-io -c ''"), 'help',
                                            'the completion'))
    formats = set(re.search(r'Supported formats: (.*)', run('--help'))[1].split())
    judge('completion-formats', difference('format', formats,
                                           completion_words(f"{shlex.quote(str(TOOL))} -f ''"),
                                           '--help', 'the completion'))
    if shutil.which('man'):
        done = subprocess.run(['man', '--warnings', '-l', str(TOP / 'docs/man/qemu-io.1')],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, LC_ALL='C.UTF-8', MANPAGER='cat'))
        judge('page-is-well-formed', done.stderr.splitlines())
    else:
        print('skip qemu-io/documents/page-is-well-formed man is not installed')
    return 1 if FAILED else 0


sys.exit(main())
