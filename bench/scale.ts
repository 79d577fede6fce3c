/**
 * A large mesh through one etcd: time until a Starlane has all of it, its memory, and what a change costs under churn, for meshes of
 * several sizes.
 *
 *     npm run bench:scale [-- --services=1250,2500,5000,10000 --per-service=50 --clusters=255 --spread=5 --churn=2000 --seconds=20]
 *
 * The publishers are simulated by one process that writes Cilium's format, the etcd is the program of that name, and the reader is the whole
 * of Starlane without active checks, since nothing is at the endpoints' addresses. Writes bench/results/scale.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { commandLine } from '../scripts/command-line.ts'
import { flags as executableFlags } from '../scripts/release/executable.ts'
import { recordGoals } from './report/all-goals.ts'
import { thisMachine } from './report/machine.ts'
import { type Mesh, nameOf } from './scale/mesh.ts'
import { page, type Row, scaleGoals } from './scale/page.ts'
import { scalePlot } from './scale/plot.ts'
import type { Figures } from './scale/reader.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    services: { type: 'string', default: '1250,2500,5000,10000' },
    'per-service': { type: 'string', default: '50' },
    clusters: { type: 'string', default: '255' },
    spread: { type: 'string', default: '5' },
    churn: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '20' },
    /** Flags of Node for the reader, such as --cpu-prof; by default those of the executable. */
    flags: { type: 'string', default: executableFlags.join(' ') },
    /** Prints only. */
    dry: { type: 'boolean', default: false },
  },
})
const [clusters, spread, perSecond, seconds] = [values.clusters, values.spread, values.churn, values.seconds].map(
  Number,
) as [number, number, number, number]
const sampleEvery = 50

const rows: Row[] = []
for (const services of values.services.split(',').map(Number)) {
  const row = await measure({ services, endpoints: services * Number(values['per-service']), clusters, spread })
  console.log(JSON.stringify(row))
  rows.push(row)
}
if (!values.dry) {
  const results = new URL('results/scale/', import.meta.url)
  mkdirSync(results, { recursive: true })
  const setting = { clusters, spread, perSecond, seconds, machine: thisMachine() }
  writeFileSync(new URL('cost.svg', results), scalePlot(rows, setting))
  writeFileSync(new URL('README.md', results), page(rows, setting))
  const goals = { page: 'scale/README.md', rows: scaleGoals(rows, setting) }
  recordGoals({ title: 'Scale', command: 'npm run bench:scale', ...goals })
}

async function measure(mesh: Mesh): Promise<Row> {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-scale-'))
  const children: ChildProcess[] = []
  try {
    const url = await startEtcd(folder, children)
    const publishers = child('publishers', children)
    const filling = answer(publishers)
    publishers.send({ fill: { url, mesh } })
    await filling
    const reader = child('reader', children, values.flags.split(' ').filter(Boolean))
    const syncing = answer(reader)
    reader.send({ start: { config: configure(folder, url), services: mesh.services } })
    const { synced } = (await syncing) as { synced: Figures & { ms: number; readyMs: number; cpuMs: number } }
    // What the start has left is collected first.
    await sleep(10_000)
    publishers.on('message', (news: { sample?: unknown }) => news.sample && reader.send(news))
    // The code of changes is compiled by then.
    publishers.send({ churn: { perSecond, seconds: 5, sampleEvery } })
    await answer(publishers, 'changes')
    await sleep(2000)
    reader.send({ reset: true })
    publishers.send({ churn: { perSecond, seconds, sampleEvery } })
    const { changes } = (await answer(publishers, 'changes')) as { changes: number }
    await sleep(1000)
    const asked = answer(reader)
    reader.send({ figures: true })
    const { figures } = (await asked) as { figures: Figures }
    return { mesh, synced, changes, figures }
  } finally {
    for (const each of children) {
      const ended = once(each, 'exit')
      each.kill(each.spawnfile.endsWith('etcd') ? 'SIGKILL' : 'SIGTERM')
      await ended
    }
    rmSync(folder, { recursive: true, force: true })
  }
}

async function startEtcd(folder: string, children: ChildProcess[]): Promise<string> {
  const [client, peer] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`]
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer]
  const own = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`, '--unsafe-no-fsync']
  children.push(
    spawn('etcd', ['--data-dir', join(folder, 'etcd'), '--log-level', 'error', ...urls, ...own], { stdio: 'ignore' }),
  )
  for (let tries = 0; tries < 100; tries++) {
    const health = await fetch(`${client}/health`).catch(() => undefined)
    if (health?.ok) return client
    await sleep(100)
  }
  throw new Error('etcd does not answer')
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

function configure(folder: string, url: string): string {
  const file = join(folder, 'starlane.yaml')
  const all = Array.from({ length: clusters }, (_, i) => {
    return `  - { name: ${nameOf(i)}, id: ${i + 1}, source: { etcd: { endpoints: ['${url}'] } }, allow: { loopback: true } }\n`
  })
  writeFileSync(
    file,
    `cluster: ${nameOf(0)}
dns: { listen: 127.0.0.1:0 }
admin: { listen: 127.0.0.1:0 }
proxy: { vips: { cidr: 127.96.0.0/16 } }
health: { active: { type: none } }
plugins:
  - use: circuit-breaker
  - use: affinity
  - use: session-affinity
  - use: ${fileURLToPath(new URL('scale/probe.ts', import.meta.url))}
clusters:
${all.join('')}`,
  )
  return file
}

function child(name: 'publishers' | 'reader', children: ChildProcess[], execArgv: string[] = []): ChildProcess {
  const made = fork(new URL(`scale/${name}.ts`, import.meta.url), { execArgv, serialization: 'advanced' })
  children.push(made)
  return made
}

/** The next message, or the next one with this part. */
function answer(from: ChildProcess, part?: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      from.off('message', hear)
      from.off('exit', fail)
    }
    const hear = (message: object) => {
      if (part !== undefined && !(part in message)) return
      settle()
      resolve(message)
    }
    const fail = (code: number | null) => {
      settle()
      reject(new Error(`a process of the benchmark has ended (${code})`))
    }
    from.on('message', hear)
    from.on('exit', fail)
  })
}
