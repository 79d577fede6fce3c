/**
 * An upgrade of packages under load: the package of an older version runs, that of this checkout takes over from it, and then the older
 * one again, as in a rollback. Both are made by `npm pack` and unpacked. Exits with 1 when anything was lost.
 *
 *     npm run test:upgrade
 *     STARLANE_UPGRADE_FROM=v0.1.0 npm run test:upgrade     a tag or commit
 *
 * Without the variable: the newest tag `v*` that has the handover; if there is none, this checkout as another version.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { enterNamespace } from '../bench/namespace.ts'
import { connections, datagrams, failures, longLived, probes, questions, tallyText } from './faults/load.ts'
import { type Engine, Stage, type Starlane } from './faults/stage.ts'

enterNamespace()
const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')
const folder = mkdtempSync(join(tmpdir(), 'starlane-upgrade-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
const from = process.env.STARLANE_UPGRADE_FROM || newestTag()
const after = unpacked('after', root)
const before = from === undefined ? asAnother('before', after, '0.0.1-before') : unpacked('before', checkout(from))
console.log(`from ${versionOf(before)} (${from ?? 'this checkout as another version'}) to ${versionOf(after)}`)
let lost = false
for (const engine of ['native', 'streams'] as const) lost = (await upgrade(engine)) || lost
process.exit(lost ? 1 : 0)

/** True when something was lost. */
async function upgrade(engine: Engine): Promise<boolean> {
  const stage = new Stage({ engine, drain: '5s' })
  try {
    const pods = { 'cluster-1': [stage.ip(10), stage.ip(11)], 'cluster-2': [stage.ip(12)] }
    await stage.backends(Object.values(pods).flat())
    stage.declare('tcp', pods)
    stage.declare('udp', pods)
    let current = stage.run(before)
    await current.logged('ready')
    const loads = [
      connections(stage.tcp, 200),
      longLived(stage.tcp, 20, 50, 3000),
      datagrams(stage.udp, 20, 100),
      questions(stage.dns, 'tcp.default.svc.cluster.local', 50),
      probes(stage.admin, '/readyz', 10),
    ]
    const old: Starlane[] = []
    for (const [what, at] of [
      ['upgrade', after],
      ['rollback', before],
    ] as const) {
      await new Promise(resolve => setTimeout(resolve, 1000))
      const since = performance.now()
      const next = stage.run(at)
      const { engine: served } = await next.logged('ready')
      if (served !== engine) throw new Error(`it runs with ${served}: the addon of the package was not built`)
      const { version } = await next.logged('handover.found')
      console.log(`${engine}: ${what} from ${version} in ${Math.round(performance.now() - since)} ms`)
      old.push(current)
      current = next
    }
    const tallies = await Promise.all(loads.map(load => load.stop()))
    const codes = await Promise.all(old.map(({ ended }) => ended))
    for (const tally of tallies) console.log(`${engine}: ${tallyText(tally)}`)
    console.log(`${engine}: exit codes of the processes that were replaced: ${codes.join(', ')}`)
    return tallies.some(tally => failures(tally) > 0) || codes.some(code => code !== 0)
  } finally {
    await stage.close()
  }
}

/** The newest release that can hand over. */
function newestTag(): string | undefined {
  const { stdout } = spawnSync('git', ['tag', '--list', 'v*', '--sort=-creatordate'], { cwd: root, encoding: 'utf8' })
  const tags = (stdout ?? '').split('\n').filter(Boolean)
  return tags.find(
    tag => spawnSync('git', ['cat-file', '-e', `${tag}:proxy/handover/server.ts`], { cwd: root }).status === 0,
  )
}

/** The sources of a commit. */
function checkout(commit: string): string {
  const into = join(folder, 'source')
  mkdirSync(into)
  const archive = execFileSync('git', ['archive', commit], { cwd: root, maxBuffer: 1 << 30 })
  execFileSync('tar', ['-x', '-C', into], { input: archive })
  symlinkSync(join(root, 'node_modules'), join(into, 'node_modules'))
  return into
}

/** The package of these sources, unpacked beside its dependencies, with its install script run. */
function unpacked(name: string, sources: string): string {
  const into = join(folder, name)
  mkdirSync(into)
  execFileSync('npm', ['pack', '--silent', `--pack-destination=${into}`], {
    cwd: sources,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [file = ''] = readdirSync(into).filter(each => each.endsWith('.tgz'))
  execFileSync('tar', ['-xzf', join(into, file), '-C', into])
  symlinkSync(join(root, 'node_modules'), join(into, 'node_modules'))
  const at = join(into, 'package')
  if (existsSync(join(at, 'proxy'))) throw new Error('the package has sources')
  execFileSync(process.execPath, ['native/build.js'], { cwd: at, stdio: ['ignore', 'ignore', 'inherit'] })
  return at
}

/** A copy of a package with another version. */
function asAnother(name: string, at: string, version: string): string {
  const into = join(folder, name)
  cpSync(join(at, '..'), into, { recursive: true, verbatimSymlinks: true })
  const file = join(into, 'package/package.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), version }))
  return join(into, 'package')
}

function versionOf(at: string): string {
  return (JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { version: string }).version
}
