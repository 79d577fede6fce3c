// Builds the OCI image of a release without a container engine: a root of Debian packages with the executable in it, put
// together by buildah. Nothing runs inside it while it is built, so the machine may have another architecture.
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, globSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { imageName } from '../../proxy/cli/kubernetes/image.ts'
import type { Architecture } from './architecture.ts'
import { archive } from './archive.ts'

export interface ImageParts {
  readonly work: string
  readonly executable: string
  readonly version: string
  readonly architecture: Architecture
  readonly made: Date
  /** An OCI archive: `skopeo copy oci-archive:FILE docker://REGISTRY/starlane:TAG`, `podman load`, `kind load image-archive`. */
  readonly output: string
}

/** What the executable links to, and `ip` and `nft` with their libraries, for node agents. */
const packages = [
  ...['libc6', 'libgcc-s1', 'libstdc++6'],
  ...['iproute2', 'libbpf1', 'libelf1', 'zlib1g', 'libmnl0', 'libcap2', 'libtirpc3', 'libxtables12'],
  ...['libselinux1', 'libpcre2-8-0', 'libgssapi-krb5-2', 'libkrb5-3', 'libk5crypto3', 'libcom-err2', 'libkrb5support0'],
  ...['libssl3', 'libkeyutils1', 'libdb5.3'],
  ...[
    'nftables',
    'libnftables1',
    'libnftnl11',
    'libedit2',
    'libtinfo6',
    'libbsd0',
    'libmd0',
    'libgmp10',
    'libjansson4',
  ],
]

export function makeImage({ work, executable, version, architecture, made, output }: ImageParts): void {
  const root = join(work, 'root')
  rmSync(root, { recursive: true, force: true })
  mkdirSync(root, { recursive: true })
  for (const deb of download(work, architecture)) execFileSync('dpkg-deb', ['-x', deb, root])
  for (const unneeded of [
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale',
    'usr/share/lintian',
    'usr/share/bash-completion',
  ])
    rmSync(join(root, unneeded), { recursive: true, force: true })
  cpSync(executable, join(root, 'usr/bin/starlane'))
  chmodSync(join(root, 'usr/bin/starlane'), 0o755)
  // The addon is extracted for a moment when it is loaded, and a handover leaves its socket here.
  for (const folder of ['tmp', 'run', 'etc/starlane', 'var/lib/starlane'])
    mkdirSync(join(root, folder), { recursive: true })
  chmodSync(join(root, 'tmp'), 0o1777)
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:\nstarlane:x:65532:65532::/:\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nstarlane:x:65532:\n')
  pack(root, { work, version, architecture, made, output })
}

/** With apt's lists and cache in a folder of their own: the machine's stay as they are. Returns the files. */
function download(work: string, architecture: Architecture): string[] {
  const place = join(work, 'apt')
  const files = join(place, 'files')
  for (const folder of ['state/lists/partial', 'cache/archives/partial', 'files'])
    mkdirSync(join(place, folder), { recursive: true })
  const settings = {
    'Dir::State': join(place, 'state'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache': join(place, 'cache'),
    'APT::Architecture': architecture.debian,
    'APT::Architectures': architecture.debian,
    // apt's own user may not write into a folder below a private one.
    'APT::Sandbox::User': 'root',
  }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  const apt = (...args: string[]) =>
    execFileSync('apt-get', [...options, '-qq', ...args], { cwd: files, stdio: ['ignore', 'ignore', 'inherit'] })
  apt('update')
  apt('download', ...packages)
  return globSync('*.deb', { cwd: files })
    .map(name => join(files, name))
    .sort()
}

/** buildah with a storage of its own, so that the machine's images and settings do not matter. */
function pack(root: string, { work, version, architecture, made, output }: Omit<ImageParts, 'executable'>): void {
  const storage = ['--storage-driver=vfs', `--root=${join(work, 'storage')}`, `--runroot=${join(work, 'storage-run')}`]
  const buildah = (...args: string[]) =>
    execFileSync('buildah', [...storage, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim()
  const container = buildah('from', `--arch=${architecture.image}`, 'scratch')
  try {
    buildah('copy', '--quiet', container, `${root}/`, '/')
    buildah(
      'config',
      `--arch=${architecture.image}`,
      '--user=65532:65532',
      '--entrypoint=["/usr/bin/starlane"]',
      '--cmd=run -c /etc/starlane/starlane.yaml',
      '--env=PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      `--label=org.opencontainers.image.version=${version}`,
      '--label=org.opencontainers.image.title=starlane',
      '--label=org.opencontainers.image.licenses=Apache-2.0',
      container,
    )
    const layout = join(work, 'layout')
    rmSync(layout, { recursive: true, force: true })
    const seconds = Math.floor(made.getTime() / 1000)
    buildah(
      'commit',
      '--quiet',
      `--timestamp=${seconds}`,
      '--disable-compression=false',
      container,
      `oci:${layout}:${imageName}:${version}`,
    )
    // buildah's own archive has the time of now in it.
    archive(layout, readdirSync(layout).sort(), made, output)
  } finally {
    buildah('rm', container)
    rmSync(join(work, 'storage'), { recursive: true, force: true })
  }
}
