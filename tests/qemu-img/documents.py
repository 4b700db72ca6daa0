#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img's help, manual page and bash completion know the same commands and options."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, TOP, case, img, main, require, run

PAGE = TOP / 'docs/man/qemu-img.1'
COMPLETION = TOP / 'scripts/completion/qemu-img'
# "  -f, --format=FMT", "      --force", "  -b   BACKING"
HELP_LINE = re.compile(r'(?m)^ {2,6}((?:-[A-Za-z](?:, --\S+|   ?[A-Z]+)?|--[a-z]\S*))(?=\s|$)')


def help_text(*command):
    return img(*command, '--help').stdout


def help_commands():
    return re.findall(r'(?m)^  ([a-z]+) +[A-Z]', help_text().split('Commands', 1)[1])


def heads(text):
    """Options with their values, such as "-f, --format=FMT"."""
    return {re.sub(' +', ' ', head).strip() for head in HELP_LINE.findall(text)} - {'-h, --help'}


def names(text):
    return set(re.findall(r'(?<![\w-])(?:--[a-z][a-z-]*|-[A-Za-z])(?![\w])', text))


def page():
    text = PAGE.read_text().replace('\\-', '-')
    return re.sub(r'\\f[A-Z]', '', text)


def page_section(name):
    return re.search(rf'(?ms)^\.SH {name}\n(.*?)^\.SH ', page())[1]


def page_commands():
    """From a command to its section."""
    parts = re.split(r'(?m)^\.SS (\w+)\n', page_section('COMMANDS'))
    return dict(zip(parts[1::2], parts[2::2]))


def page_heads(section):
    return set(re.findall(r'(?m)^\.TP\n(-.*)$', section)) - {'-h, --help'}


def completed(line, program=IMG):
    script = f'''source {shlex.quote(str(COMPLETION))}
compopt() {{ echo "(files)"; }}
COMP_WORDS=({shlex.quote(program)} {line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_qemu_img; printf '%s\\n' "${{COMPREPLY[@]}}"'''
    done = subprocess.run(['bash', '-c', script], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


@case
def help_lists_every_command():
    commands = help_commands()
    assert len(commands) >= 16 and 'checksum' in commands, commands
    for command in commands:
        text = help_text(command)
        assert text.startswith(f'Usage: qemu-img {command} '), text
        assert len(heads(text)) >= 4, (command, heads(text))


@case
def page_has_the_commands_of_help():
    assert list(page_commands()) == sorted(help_commands())


@case
def page_has_the_options_of_every_command():
    for command, section in page_commands().items():
        assert page_heads(section) == heads(help_text(command)), \
            (command, page_heads(section) ^ heads(help_text(command)))


@case
def page_has_the_standard_options():
    known = names('\n'.join(re.findall(r'(?m)^  (-\S+ \S+)', help_text())))
    assert len(known) == 6, known
    assert names('\n'.join(re.findall(r'(?m)^\.TP\n(-.*)$', page_section('OPTIONS')))) == known


@case
def page_shows_the_usage_of_help():
    for command, section in page_commands().items():
        usage = help_text(command).splitlines()[0].replace('Usage: ', '')
        assert section.splitlines()[0] == usage, (command, section.splitlines()[0])


@case
def page_explains_every_option_of_qcow2_and_luks():
    plain = re.sub(r'\\f[A-Z]|\\|"', '', page_section('QCOW2 OPTIONS') + page_section('ENCRYPTION'))
    for fmt in ('qcow2', 'luks'):
        for option in re.findall(r'(?m)^  ([\w.-]+)=<', img('create', '-f', fmt, '-o', 'help').stdout):
            assert option.replace('encrypt.', '') in plain, (fmt, option)
    starred = set(re.findall(r'(\w+)= ?[\w|]+ ?\*', plain))
    amended = set(re.findall(r'(?m)^  (\w+)=<', img('amend', '-f', 'qcow2', '-o', 'help').stdout))
    assert starred == amended, starred ^ amended


@case
def page_knows_every_object():
    for name in img('create', '--object', 'help').stdout.split()[5:]:
        assert name in page_section('OBJECTS').replace('\\', ''), name


@case
def examples_of_the_page_run():
    img('create', '-q', '-f', 'raw', 'disk.raw', '1M')
    script = '\n'.join(re.findall(r'(?ms)^\.EX\n(.*?)^\.EE', page_section('EXAMPLES'))).replace('\\e\n', '\\\n')
    script = re.sub(r'\\-', '-', script)
    done = run('bash', '-ec', script, env={'PATH': f'{pathlib.Path(IMG).parent}:{os.environ["PATH"]}'})
    assert script.count('qemu-img') >= 15 and 'format: qcow2' in done.stdout, done


@case
def page_is_well_formed():
    require(shutil.which('man'), 'man is not installed')
    done = subprocess.run(['man', '--warnings', '-l', str(PAGE)], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, LC_ALL='C.UTF-8', MANPAGER='cat'))
    assert done.stderr == '', done.stderr


@case
def completion_knows_commands_and_options():
    assert completed("''") == set(help_commands())
    assert completed('con') == {'convert'}
    assert completed('-') == {'-h', '--help', '-V', '--version', '-T', '--trace'}
    for command in help_commands():
        expected = set().union(*map(names, heads(help_text(command)))) | {'-h', '--help'}
        assert completed(f'{command} -') == expected, \
            (command, completed(f'{command} -') ^ expected)


@case
def completion_knows_values():
    formats = set(re.search(r'Supported formats: (.*)', help_text())[1].split())
    for line in ("info -f ''", "convert -O ''", "convert --target-format = ''", "compare -F ''"):
        assert completed(line) == formats, line
    assert completed("info --output ''") == completed('info --output =') == {'human', 'json'}
    assert completed("checksum --hash ''") == {'sha256', 'tree'}
    assert completed("convert --hash = t") == {'tree'}
    assert completed("check -r ''") == {'leaks', 'all'}
    assert completed("resize --preallocation ''") == {'off', 'metadata', 'falloc', 'full'}
    assert completed("convert -T ''") == {'none', 'writeback', 'writethrough', 'directsync',
                                          'unsafe'}
    assert completed("convert --object ''") >= {'secret', 'throttle-group', '(files)'}
    assert completed("convert --progress =") == {'json'} and completed("info --untrusted =") == {'strict'}
    assert completed("info --untrusted ''") == {'(files)'}
    assert 'copy_piece' in completed("-T ''")
    assert completed("info ''") == {'(files)'}
    assert completed("-T copy_piece info -f q") == {f for f in formats if f.startswith('q')}


main('documents')
