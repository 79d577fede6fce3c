/** One fault after the other under load, each with what failed, how soon it was noticed, and how soon all was well again. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { connections, failures, type Tally } from './load.ts'
import { type Engine, Stage, type Starlane } from './stage.ts'

export interface FaultRow {
  readonly fault: string
  readonly load: string
  readonly failed: string
  readonly detectMs?: number | undefined
  readonly healMs?: number | undefined
  readonly note?: string
}

export interface FaultsOptions {
  readonly engine: Engine
  readonly perSecond?: number
  readonly said?: (text: string) => void
}

interface Scene {
  readonly stage: Stage
  readonly starlane: Starlane
  /** The addresses of the backends; the first is the one that fails. */
  readonly ips: readonly string[]
}

interface Fault {
  readonly name: string
  /** Whether this machine can do it. */
  readonly possible?: () => boolean
  /** How the first backend is made; by default in this process. */
  readonly backend?: (ip: string) => Promise<Faulty>
  readonly config?: object
  /** Begins the fault, waits, ends it; returns what was measured. */
  run(scene: Scene, faulty: Faulty): Promise<Partial<FaultRow>>
}

/** A backend that can fail and come back. */
interface Faulty {
  fail(): void | Promise<void>
  heal(): void | Promise<void>
  close(): void
}

/** Runs those that this machine can do. */
export async function faults({ engine, perSecond = 200, said }: FaultsOptions): Promise<FaultRow[]> {
  const rows: FaultRow[] = []
  for (const fault of all) {
    if (fault.possible?.() === false) {
      rows.push({ fault: fault.name, load: '', failed: '', note: 'not possible on this machine' })
      continue
    }
    const stage = new Stage({ engine, drain: '1s', ...(fault.config && { config: fault.config }) })
    const ips = [10, 11, 12].map(last => stage.ip(last))
    const [first = '', ...others] = ips
    const faulty = await (fault.backend ?? killable)(first)
    try {
      for (const ip of others) await stage.echo(ip)
      stage.declare('tcp', { 'cluster-1': ips.slice(0, 2), 'cluster-2': ips.slice(2) })
      writeFileSync(join(stage.folder, 'blocking.ts'), blockingPlugin)
      const starlane = stage.run()
      await starlane.logged('ready')
      await until(async () => (await verdict(stage, first)) === 'up', 10_000)
      const load = connections(stage.tcp, perSecond)
      await sleep(1000)
      const measured = await fault.run({ stage, starlane, ips }, faulty)
      await sleep(1000)
      const tally = await load.stop()
      const row = { fault: fault.name, load: String(tally.asked), failed: failedText(tally), ...measured }
      rows.push({ ...row, note: [`slowest ${Math.round(tally.slowest)} ms`, row.note].filter(Boolean).join('; ') })
      said?.(`${engine}: ${JSON.stringify(rows.at(-1))}`)
    } finally {
      faulty.close()
      await stage.close()
    }
  }
  return rows
}

const all: readonly Fault[] = [
  { name: 'a backend is killed, and comes back', run: verdictRun },
  { name: 'a backend resets every connection', backend: resetting, run: healthRun },
  { name: 'a backend is stopped (SIGSTOP): it connects and never answers', backend: stoppable, run: pauseRun },
  {
    name: 'a backend is cut off: its packets are dropped',
    possible: hasNft,
    backend: silenced,
    run: verdictRun,
  },
  {
    name: '2% of all packets are lost for 5 s',
    possible: hasNft,
    run: async () => {
      // Many kernels have no netem; a packet that is dropped on its way in is lost as well.
      const lossy = `table inet starlane-fault { chain input { type filter hook input priority 0; policy accept;
        numgen random mod 100 < 2 drop; }; }`
      if (!nft(lossy)) throw new Error('nft does not take the rule that loses packets')
      await sleep(5000)
      nft('delete table inet starlane-fault')
      return {}
    },
  },
  {
    name: 'the sources of both clusters are gone for 5 s',
    run: async ({ stage }) => {
      const move = (from: string, to: string) => {
        for (const name of ['cluster-1', 'cluster-2']) {
          renameSync(join(stage.folder, name + from), join(stage.folder, name + to))
        }
      }
      move('', '-away')
      const detectMs = await until(async () => (await links(stage)).every(state => state === 'lost'), 10_000)
      await sleep(5000)
      move('-away', '')
      return {
        detectMs,
        healMs: await until(async () => (await links(stage)).every(state => state === 'live'), 40_000),
      }
    },
  },
  {
    name: '100 reloads, each another configuration',
    run: async ({ stage, starlane }) => {
      for (let i = 0; i < 100; i++) {
        stage.write({ proxy: { limits: { connections: 9000 + i } } })
        starlane.child.kill('SIGHUP')
        await sleep(30)
      }
      return {}
    },
  },
  {
    name: 'a plugin blocks for 50 ms at every hundredth decision',
    config: { plugins: [{ use: './blocking.ts' }] },
    run: async () => {
      await sleep(3000)
      return {}
    },
  },
  {
    name: 'Starlane is killed (SIGKILL), and started again',
    run: async ({ stage, starlane }) => {
      starlane.child.kill('SIGKILL')
      await starlane.ended
      const since = performance.now()
      await stage.run().logged('ready')
      return { healMs: Math.round(performance.now() - since), note: 'by a start from memory' }
    },
  },
]

/** By the health that status shows. */
async function verdictRun({ stage, ips: [first = ''] }: Scene, faulty: Faulty): Promise<Partial<FaultRow>> {
  await faulty.fail()
  const detectMs = await until(async () => isBad(await verdict(stage, first)), 20_000)
  await sleep(1000)
  await faulty.heal()
  return { detectMs, healMs: await until(async () => !isBad(await verdict(stage, first)), 60_000) }
}

/** One that connects passes its checks: what traffic finds counts, or breakers do. */
async function healthRun({ stage, ips: [first = ''] }: Scene, faulty: Faulty): Promise<Partial<FaultRow>> {
  await faulty.fail()
  const detectMs = await until(
    async () => isBad(await verdict(stage, first)) || (await isAvoided(stage, first)),
    20_000,
  )
  await sleep(2000)
  await faulty.heal()
  return { detectMs }
}

async function pauseRun({ stage, ips: [first = ''] }: Scene, faulty: Faulty): Promise<Partial<FaultRow>> {
  await faulty.fail()
  await sleep(4000)
  const isNoticed = isBad(await verdict(stage, first))
  await faulty.heal()
  return { note: isNoticed ? 'noticed' : 'tcp checks do not notice it; use `health.active.type: http`' }
}

async function killable(ip: string): Promise<Faulty> {
  let server = await listening(ip)
  return {
    fail: () => server.stop(),
    heal: async () => {
      server = await listening(ip)
    },
    close: () => server.stop(),
  }
}

async function listening(ip: string, isResetting = () => false): Promise<{ stop(): void }> {
  const sockets = new Set<import('node:net').Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    if (isResetting()) return void socket.resetAndDestroy()
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.pipe(socket)
  })
  await once(server.listen({ host: ip, port: 8000, backlog: 512 }), 'listening')
  return {
    stop: () => {
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
    },
  }
}

async function resetting(ip: string): Promise<Faulty> {
  let resets = false
  const server = await listening(ip, () => resets)
  return {
    fail: () => {
      resets = true
    },
    heal: () => {
      resets = false
    },
    close: () => server.stop(),
  }
}

async function stoppable(ip: string): Promise<Faulty> {
  const script = `require('net').createServer({ allowHalfOpen: true }, s => s.on('error', () => {}).pipe(s)).listen(8000, '${ip}', () => console.log('on'))`
  const child: ChildProcess = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  if (child.stdout) await once(child.stdout, 'data')
  return {
    fail: () => void child.kill('SIGSTOP'),
    heal: () => void child.kill('SIGCONT'),
    close: () => void child.kill('SIGKILL'),
  }
}

function hasNft(): boolean {
  return nft('add table inet starlane-fault\ndelete table inet starlane-fault')
}

async function silenced(ip: string): Promise<Faulty> {
  const server = await listening(ip)
  return {
    fail: () => {
      nft(`table inet starlane-fault { chain output { type filter hook output priority 0; policy accept;
        ip daddr ${ip} drop; ip saddr ${ip} drop; }; }`)
    },
    heal: () => {
      nft('delete table inet starlane-fault')
    },
    close: () => {
      nft('delete table inet starlane-fault')
      server.stop()
    },
  }
}

function nft(script: string): boolean {
  return spawnSync('nft', ['-f', '-'], { input: `${script}\n` }).status === 0
}

interface SeenService {
  readonly backends: readonly { address: string; health: string; notes?: Record<string, { state: string }> }[]
}

async function verdict(stage: Stage, ip: string): Promise<string | undefined> {
  const { backends } = await look<SeenService>(stage, '/v1/services/default/tcp')
  return backends.find(({ address }) => address === ip)?.health
}

async function isAvoided(stage: Stage, ip: string): Promise<boolean> {
  const { backends } = await look<SeenService>(stage, '/v1/services/default/tcp')
  return backends.find(({ address }) => address === ip)?.notes?.['circuit-breaker']?.state === 'open'
}

async function links(stage: Stage): Promise<string[]> {
  const { clusters } = await look<{ clusters: { link: { state: string } }[] }>(stage, '/v1/status')
  return clusters.map(({ link }) => link.state)
}

async function look<T>(stage: Stage, path: string): Promise<T> {
  const response = await fetch(`http://${stage.admin.host}:${stage.admin.port}${path}`)
  return (await response.json()) as T
}

function isBad(health: string | undefined): boolean {
  return health === 'down' || health === 'ejected'
}

/** How long it took, in milliseconds; undefined when it has not come true. */
async function until(check: () => Promise<boolean>, mostMs: number): Promise<number | undefined> {
  const since = performance.now()
  while (performance.now() - since < mostMs) {
    if (await check().catch(() => false)) return Math.round(performance.now() - since)
    await sleep(20)
  }
  return undefined
}

function failedText(tally: Tally): string {
  if (failures(tally) === 0) return '0'
  return Object.entries(tally.failed)
    .map(([error, count]) => `${count} ${error}`)
    .join(', ')
}

function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

const blockingPlugin = `/** Blocks the process now and then. */
import { definePlugin } from 'starlane'

export default definePlugin({
  name: 'blocking',
  options: {},
  onError: 'skip',
  create: (_options, host) => {
    let decisions = 0
    return {
      candidates: (_flow, backends) => {
        const end = host.clock.now() + (++decisions % 100 === 0 ? 50 : 0)
        while (host.clock.now() < end);
        return backends
      },
    }
  },
})
`
