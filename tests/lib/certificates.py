# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for tests, made by certtool."""
import shutil
import subprocess

TEMPLATES = {
    'ca': 'cn = "test authority"\nca\ncert_signing_key\nexpiration_days = 2\n',
    'server': 'cn = "localhost"\ndns_name = "localhost"\nip_address = "127.0.0.1"\n'
              'tls_www_server\nsigning_key\nencryption_key\nexpiration_days = 2\n',
    'client': 'cn = "Joe"\ncountry = "GB"\norganization = "Example"\n'
              'tls_www_client\nsigning_key\nexpiration_days = 2\n',
    'named': 'cn = "disks.example"\ndns_name = "disks.example"\n'
             'tls_www_server\nsigning_key\nencryption_key\nexpiration_days = 2\n',
}


def certtool(*args):
    subprocess.run(['certtool', *map(str, args)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def make_certificate(folder, kind, ca):
    """@kind of TEMPLATES, signed by the authority in folder @ca, as a folder that tls-creds-x509 takes."""
    folder.mkdir(exist_ok=True)
    name = kind if kind in ('ca', 'client') else 'server'
    key, cert, template = (folder / f'{name}-{end}.pem' for end in ('key', 'cert', 'template'))
    template.write_text(TEMPLATES[kind])
    certtool('--generate-privkey', '--key-type=ecdsa', '--outfile', key)
    if kind == 'ca':
        certtool('--generate-self-signed', '--load-privkey', key, '--template', template,
                 '--outfile', cert)
        return
    shutil.copy(ca / 'ca-cert.pem', folder)
    certtool('--generate-certificate', '--load-privkey', key, '--load-ca-certificate',
             ca / 'ca-cert.pem', '--load-ca-privkey', ca / 'ca-key.pem', '--template', template,
             '--outfile', cert)
