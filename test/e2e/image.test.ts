/**
 * Follows the Dockerfile step by step, without a container engine: copies and compiles what .dockerignore allows, assembles the
 * last stage in a folder, and runs it like the image: as its user, on a read-only root file system. The base image and its
 * `apk` are not tested: a small root with Node and its libraries is used instead, and the checkout's packages for `npm ci`.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.ts'

const able = process.getuid?.() === 0 && canMount()
const options = able ? { timeout: 100_000 } : { skip: 'needs root: mounts, chroot and another user' }

t.test('the image runs as an unprivileged user on a read-only root', options, async t => {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-image-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const { build, image } = stages(readFileSync('Dockerfile', 'utf8'))
  const [context, src, root] = ['context', 'src', 'root'].map(name => join(folder, name)) as [string, string, string]
  for (const name of admitted()) cpSync(name, join(context, name), { recursive: true })

  for (const [from, to] of copies(build)) cpSync(join(context, from), join(src, to), { recursive: true })
  symlinkSync(resolve('node_modules'), join(src, 'node_modules'))
  // `npm run build` without the type check.
  execFileSync('tsc', ['-p', 'tsconfig.build.json', '--noCheck'], { cwd: src })
  cpSync(join(src, 'proxy/admin/page'), join(src, 'dist/proxy/admin/page'), { recursive: true })
  // Uses the engine built in the checkout, and builds it if there is none.
  cpSync('native/build', join(src, 'native/build'), { recursive: true })
  execFileSync(process.execPath, ['native/build.js', '--optional'], { cwd: src })
  rmSync(join(src, 'node_modules'))
  for (const path of production()) cpSync(path, join(src, path), { recursive: true })

  standInBase(root)
  const workdir = wordsOf(image, 'WORKDIR')[0]?.[0] ?? '/'
  for (const [from, to, stage] of copies(image)) {
    cpSync(stage === undefined ? join(context, from) : join(folder, from), join(root, workdir, to), { recursive: true })
  }
  for (const [command, ...args] of wordsOf(image, 'RUN')) {
    if (command === 'ln') execFileSync('chroot', [root, '/usr/bin/ln', ...args])
  }
  configure(root)

  const { admin, uid, stop } = await run(t, root, image)
  t.equal(uid, wordsOf(image, 'USER')[0]?.[0]?.split(':')[0])
  t.not(uid, '0')
  t.equal((await fetch(`http://${admin}/readyz`)).status, 200)
  const [service] = (await (await fetch(`http://${admin}/v1/services`)).json()) as { name: string }[]
  t.equal(service?.name, 'rebel-base', 'it reads the mounted files')
  t.equal(await stop(), 0, 'it exits on SIGTERM')
})

type Instruction = readonly [word: string, rest: string]

/** The instructions of both stages, with continued lines joined and without comments. */
function stages(dockerfile: string): { build: Instruction[]; image: Instruction[] } {
  const lines = dockerfile
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter(line => line.trim() !== '')
  const all = lines.map((line): Instruction => [line.split(' ', 1)[0] ?? '', line.slice(line.indexOf(' ') + 1).trim()])
  const second = all.findLastIndex(([word]) => word === 'FROM')
  return { build: all.slice(0, second), image: all.slice(second) }
}

function wordsOf(stage: readonly Instruction[], word: string): string[][] {
  return stage.filter(([own]) => own === word).map(([, rest]) => rest.split(/\s+/))
}

/** Source, target, and the stage of the source. A path of another stage loses its first slash. */
function copies(stage: readonly Instruction[]): (readonly [from: string, to: string, stage: string | undefined])[] {
  return wordsOf(stage, 'COPY').flatMap(words => {
    const other = words[0]?.startsWith('--from=') ? words.shift() : undefined
    const to = words.pop() ?? ''
    return words.map(from => [from.replace(/^\//, ''), to === './' ? from : to, other] as const)
  })
}

/** The files that .dockerignore does not exclude. */
function admitted(): string[] {
  return readFileSync('.dockerignore', 'utf8').match(/(?<=^!).+$/gm) ?? []
}

/** The packages without development dependencies, relative to the checkout. */
function production(): string[] {
  const listed = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], { encoding: 'utf8' })
  const here = `${process.cwd()}/`
  const paths = listed.split('\n').filter(path => path.startsWith(here))
  return paths.map(path => path.slice(here.length)).filter(path => path !== 'node_modules/typescript')
}

/** A root with Node, what its shebang needs, and their libraries. */
function standInBase(root: string): void {
  const node = realNode()
  for (const [program, at] of [
    [node, '/usr/local/bin/node'],
    ['/usr/bin/env', '/usr/bin/env'],
    ['/usr/bin/ln', '/usr/bin/ln'],
  ] as const) {
    for (const [from, to] of [[program, at] as const, ...librariesOf(program).map(path => [path, path] as const)]) {
      mkdirSync(dirname(join(root, to)), { recursive: true })
      copyFileSync(from, join(root, to))
    }
  }
}

function realNode(): string {
  return execFileSync('readlink', ['-f', process.execPath], { encoding: 'utf8' }).trim()
}

function librariesOf(program: string): string[] {
  return execFileSync('ldd', [program], { encoding: 'utf8' }).match(/\/\S+(?= \()/g) ?? []
}

/** The configuration, as the overlays mount it. */
function configure(root: string): void {
  const folder = join(root, 'etc/starlane')
  mkdirSync(join(folder, 'one'), { recursive: true })
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'rebel-base', annotations: { 'service.cilium.io/global': 'true' } },
    spec: { clusterIP: '127.96.77.10', ports: [{ port: 7077 }] },
  }
  writeFileSync(join(folder, 'one/rebel-base.json'), JSON.stringify(service))
  const config = {
    cluster: 'one',
    clusters: [{ name: 'one', id: 1, source: { manifests: './one' } }],
    dns: { listen: '127.0.0.1:0', upstream: [] },
    admin: { listen: '127.0.0.1:0' },
    log: { format: 'json' },
  }
  writeFileSync(join(folder, 'starlane.yaml'), JSON.stringify(config))
}

/** Runs the entry point with its command; resolves when it is ready. */
async function run(t: Test, root: string, image: readonly Instruction[]) {
  const list = (word: string): string[] => JSON.parse(image.find(([own]) => own === word)?.[1] ?? '[]')
  const user = wordsOf(image, 'USER')[0]?.[0] ?? ''
  const script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec chroot --userspec="$1" "$0" $2'
  const argv = [...list('ENTRYPOINT'), ...list('CMD')]
  const child = spawn('unshare', ['-m', 'sh', '-c', script, root, user, argv.join(' ')], {
    env: { PATH: '/usr/local/bin:/usr/bin:/usr/sbin', NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', text => {
      said += text
    })
  }
  const exited = new Promise<number | null>(resolve => child.once('exit', resolve))
  t.teardown(() => child.kill('SIGKILL'))
  const admin = await eventually(() => {
    const [, address] = /"admin":"([^"]+)"[^\n]*"event":"ready"/.exec(said) ?? []
    assert.ok(address, said)
    return address
  }, 20_000)
  const [, uid = ''] = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? []
  const stop = () => {
    child.kill('SIGTERM')
    return exited
  }
  return { admin, uid, stop }
}

function canMount(): boolean {
  try {
    execFileSync('unshare', ['-m', 'mount', '--bind', tmpdir(), tmpdir()], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
