// Debian and RPM packages of the single executable, made by dpkg-deb and rpmbuild.
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, globSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Architecture } from './architecture.ts'

export interface PackageParts {
  readonly root: string
  readonly work: string
  readonly executable: string
  readonly version: string
  readonly architecture: Architecture
  readonly made: Date
  readonly output: string
}

const summary = 'Global services across Kubernetes clusters, without replacing the CNI'
const description =
  'A DNS responder and a TCP/UDP proxy: a service of several clusters gets one address, and its connections go to ' +
  'healthy endpoints of all of them.'

/** What is installed where. The configuration belongs to the operator: an upgrade never overwrites it. */
const configuration = '/etc/starlane/starlane.yaml'
const files = (executable: string) => [
  { from: executable, to: '/usr/bin/starlane', mode: 0o755 },
  { from: 'deploy/systemd/starlane.service', to: '/usr/lib/systemd/system/starlane.service', mode: 0o644 },
  { from: 'deploy/systemd/starlane.socket', to: '/usr/lib/systemd/system/starlane.socket', mode: 0o644 },
  { from: 'deploy/systemd/starlane.yaml', to: configuration, mode: 0o640 },
  { from: 'conf/starlane.yaml', to: '/usr/share/doc/starlane/starlane.yaml', mode: 0o644 },
  { from: 'conf/starlane.schema.json', to: '/usr/share/doc/starlane/starlane.schema.json', mode: 0o644 },
  { from: 'CHANGELOG.md', to: '/usr/share/doc/starlane/CHANGELOG.md', mode: 0o644 },
  { from: 'LICENSE', to: '/usr/share/doc/starlane/copyright', mode: 0o644 },
]

/** Returns the folder whose content is the root of the installed system. */
function stage({ root, work, executable, made }: PackageParts, name: string): string {
  const tree = join(work, name)
  rmSync(tree, { recursive: true, force: true })
  for (const { from, to, mode } of files(executable)) {
    const target = join(tree, to)
    mkdirSync(dirname(target), { recursive: true })
    cpSync(from.startsWith('/') ? from : join(root, from), target)
    chmodSync(target, mode)
  }
  // The time of the release, not of this run: the same sources give the same bytes.
  for (const path of [tree, ...globSync('**/*', { cwd: tree }).map(path => join(tree, path))])
    utimesSync(path, made, made)
  return tree
}

export function makeDeb(parts: PackageParts): void {
  const { version, architecture, made, output } = parts
  const tree = stage(parts, 'deb')
  const control = join(tree, 'DEBIAN')
  mkdirSync(control)
  writeFileSync(
    join(control, 'control'),
    `Package: starlane
Version: ${debianVersion(version)}
Architecture: ${architecture.debian}
Maintainer: The Starlane maintainers
Section: net
Priority: optional
Depends: libc6 (>= 2.28), libstdc++6, passwd
Recommends: iproute2, nftables
Description: ${summary}
 ${description}
`,
  )
  writeFileSync(join(control, 'conffiles'), `${configuration}\n`)
  writeFileSync(join(control, 'postinst'), script(['configure'], afterInstall))
  writeFileSync(join(control, 'prerm'), script(['remove'], beforeRemove))
  writeFileSync(join(control, 'postrm'), `#!/bin/sh\nset -e\n${reloadUnits}\n`)
  for (const name of ['postinst', 'prerm', 'postrm']) chmodSync(join(control, name), 0o755)
  for (const path of [control, ...globSync('*', { cwd: control }).map(path => join(control, path))])
    utimesSync(path, made, made)
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, output], {
    env: { ...process.env, SOURCE_DATE_EPOCH: seconds(made) },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

export function makeRpm(parts: PackageParts): void {
  const { work, version, architecture, made, output } = parts
  const tree = stage(parts, 'rpm')
  const spec = join(work, 'starlane.spec')
  const listed = files('').map(({ to }) =>
    to === configuration ? `%config(noreplace) %attr(640,root,root) ${to}` : to,
  )
  writeFileSync(
    spec,
    `Name: starlane
Version: ${version.split('-')[0]}
Release: ${version.includes('-') ? `0.${version.split('-')[1]?.replaceAll('-', '.')}` : '1'}
Summary: ${summary}
License: Apache-2.0
AutoReqProv: no
Requires: glibc >= 2.28, libstdc++, shadow-utils
Recommends: iproute
Recommends: nftables
%define _build_id_links none
%define __os_install_post %{nil}
%define debug_package %{nil}
%description
${description}
%install
cp -a ${tree}/. %{buildroot}
%post
${afterInstall}
%preun
if [ "$1" = 0 ]; then
${beforeRemove}
fi
%postun
${reloadUnits}
%files
${listed.join('\n')}
`,
  )
  execFileSync(
    'rpmbuild',
    [
      ...['-bb', '--quiet', `--target=${architecture.rpm}-linux`],
      ...['--define', `_topdir ${join(work, 'rpmbuild')}`, '--define', `_rpmdir ${join(work, 'rpms')}`],
      ...['--define', '_rpmfilename starlane.rpm', '--define', '_buildhost starlane'],
      ...['--define', 'use_source_date_epoch_as_buildtime 1', '--define', 'clamp_mtime_to_source_date_epoch 1'],
      ...['--define', '_binary_payload w6.gzdio', spec],
    ],
    { env: { ...process.env, SOURCE_DATE_EPOCH: seconds(made) }, stdio: ['ignore', 'ignore', 'inherit'] },
  )
  cpSync(join(work, 'rpms', 'starlane.rpm'), output)
}

// The unit is not enabled: the configuration names no cluster yet. A running one is reloaded, which is a handover to the new version.
const reloadUnits = 'if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi'
const afterInstall = `getent passwd starlane > /dev/null || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin starlane
chgrp starlane ${configuration}
${reloadUnits}
if [ -d /run/systemd/system ] && systemctl is-active --quiet starlane; then systemctl reload starlane; fi`
const beforeRemove = 'if [ -d /run/systemd/system ]; then systemctl disable --now starlane.socket starlane; fi'

function script(when: readonly string[], text: string): string {
  return `#!/bin/sh\nset -e\ncase "$1" in ${when.join('|')}) ;; *) exit 0 ;; esac\n${text}\n`
}

/** A pre-release sorts before its release: 1.0.0~rc.1. */
function debianVersion(version: string): string {
  return version.replace('-', '~')
}

function seconds(made: Date): string {
  return String(Math.floor(made.getTime() / 1000))
}
