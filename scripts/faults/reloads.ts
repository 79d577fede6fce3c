/** Reloads under load: each with other options, and with clusters, frontends and addresses that come, go and move. */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { connections, datagrams, type Load, longLived, probes, questions, type Tally } from './load.ts'
import { type Engine, Stage, type Starlane } from './stage.ts'

export interface ReloadsOptions {
  readonly engine: Engine
  readonly reloads: number
  readonly perSecond: number
  readonly said?: (text: string) => void
}

export interface ReloadsResult {
  readonly tallies: readonly Tally[]
  /** From the signal until the new options apply, in milliseconds. */
  readonly reloadMs: readonly number[]
  /** Why flows were refused, as the process logged it. */
  readonly refusals: Readonly<Record<string, number>>
  /** Reloads that were refused, and why. */
  readonly refusedReloads: readonly unknown[]
  /** Of 50 connections that last from the first reload to the last: those that were cut, or have not answered everything. */
  readonly cut: number
}

/** The section of the configuration that a reload changes, by its number. Together they touch every option that changes in place. */
const sections: readonly ((n: number) => Readonly<Record<string, unknown>>)[] = [
  n => ({ proxy: { dial: { timeout: `${800 + (n % 200)}ms`, attempts: 2 + (n % 3) } } }),
  n => ({ proxy: { limits: { connections: 9000 + n, udpSessions: 8000 + n } } }),
  n => ({ health: { active: { interval: `${300 + (n % 100)}ms`, timeout: '250ms', fall: 3 + (n % 3) } } }),
  n => ({ proxy: { balancer: balancers[n % balancers.length] } }),
  n => ({ plugins: breaker(n) }),
  n => ({ proxy: { idle: { tcp: `${30 + (n % 9)}m`, udp: `${50 + (n % 9)}s` }, unlisted: `${10 + (n % 9)}m` } }),
  n => ({ health: { active: { type: n % 2 === 0 ? 'none' : 'tcp' }, passive: { consecutive: 3 + (n % 4) } } }),
  n => ({ dns: { ttl: `${4 + (n % 5)}s`, search: n % 2 === 0 }, proxy: { drain: `${4 + (n % 3)}s` } }),
]

const balancers = ['round-robin', 'least-connections', 'maglev', 'random'] as const

function breaker(n: number): object[] {
  const options = {
    minimum: 5 + (n % 7),
    window: `${5 + (n % 5)}s`,
    earlyClose: 4 + (n % 3),
    maxPercent: 40 + (n % 20),
  }
  return [{ use: 'tenancy' }, { use: 'circuit-breaker', options }, { use: 'affinity' }, { use: 'session-affinity' }]
}

export async function reloads({ engine, reloads: count, perSecond, said }: ReloadsOptions): Promise<ReloadsResult> {
  const stage = new Stage({ engine, drain: '5s' })
  try {
    await stage.populate()
    const guests = [7100, 7101].map(port => ({ host: stage.tcp.host, port }))
    const comeAndGo = new Guests(stage, guests, [stage.ip(10), stage.ip(11)])
    const starlane = stage.run()
    await starlane.logged('ready')
    await comeAndGo.ready
    const lasting = await Promise.all(Array.from({ length: 50 }, () => lastingConnection(stage.tcp)))
    // Clients ask the new address of DNS once the reload is done.
    const names = { ...stage.dns }
    const loads: Load[] = [
      connections(stage.tcp, perSecond),
      connections(comeAndGo.open, perSecond / 4),
      longLived(stage.tcp, 30, 20, 3000),
      datagrams(stage.udp, 30, perSecond / 2),
      questions(names, 'tcp.default.svc.cluster.local', perSecond / 2),
      probes(stage.admin, '/readyz', 20),
    ]
    const reloadMs: number[] = []
    for (let n = 0; n < count; n++) {
      await around(stage, comeAndGo, n)
      const { dns, ...rest } = { dns: {}, ...sections[n % sections.length]?.(n) }
      const port = stage.dns.port + (Math.floor(n / 10) % 2)
      const listen = `${stage.dns.host}:${port}`
      stage.write({ ...(n % 7 === 6 && { clusters: three }), ...rest, dns: { ...dns, listen } })
      const began = performance.now()
      starlane.child.kill('SIGHUP')
      await done(starlane, n + 1)
      reloadMs.push(performance.now() - began)
      names.port = port
      for (const one of lasting) one.speak()
      if ((n + 1) % 50 === 0) said?.(`${engine}: ${n + 1} reloads`)
    }
    const tallies = await Promise.all(loads.map(load => load.stop()))
    const held = await Promise.all(lasting.map(one => one.close()))
    const cut = held.filter(isHeld => !isHeld).length
    const refusals: Record<string, number> = {}
    for (const { event, code, why, suppressed = 0 } of starlane.lines) {
      if (event !== 'flow.refused') continue
      const reason = `${code}: ${String(why).replace(/[\d.:]+/g, 'N')}`
      refusals[reason] = (refusals[reason] ?? 0) + 1 + Number(suppressed)
    }
    const refusedReloads = starlane.lines.filter(({ event }) => event === 'reload.refused')
    return { tallies, reloadMs, refusals, refusedReloads, cut }
  } finally {
    await stage.close()
  }
}

const three = ['cluster-1', 'cluster-2', 'cluster-3'].map((name, i) => ({
  name,
  id: i + 1,
  source: { manifests: `./${name}` },
}))

/** What happens beside the reload: a cluster with a folder of its own, frontends, and an address that moves. */
async function around(stage: Stage, guests: Guests, n: number): Promise<void> {
  const third = join(stage.folder, 'cluster-3')
  if (n % 7 === 6) mkdirSync(third, { recursive: true })
  if (n % 7 === 0 && existsSync(third)) rmSync(third, { recursive: true, force: true })
  if (n % 3 === 0) await guests.change()
  if (n % 5 === 0) stage.declareOther('moving', 7200 + ((n / 5) % 2), [stage.ip(10)])
}

async function done(starlane: Starlane, count: number): Promise<void> {
  for (;;) {
    const ended = starlane.lines.filter(({ event }) => event === 'reload.done' || event === 'reload.refused').length
    if (ended >= count) return
    if (starlane.child.exitCode !== null) throw new Error(`Starlane has ended with ${starlane.child.exitCode}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

/** Two frontends that come and go in turn. `open` is the one that clients use; the other goes once they have left it. */
class Guests {
  readonly open: { host: string; port: number }
  readonly ready: Promise<void>
  readonly #stage: Stage
  readonly #frontends: readonly { readonly host: string; readonly port: number }[]
  readonly #pods: readonly string[]
  #current = 0

  constructor(stage: Stage, frontends: Guests['open'][], pods: readonly string[]) {
    this.#stage = stage
    this.#frontends = frontends
    this.#pods = pods
    this.open = { ...(frontends[0] as Guests['open']) }
    this.#declare(0)
    this.ready = this.#until(0, 'served')
  }

  /** Resolves when clients use the other frontend and the one before is gone. */
  async change(): Promise<void> {
    const before = this.#current
    this.#current = 1 - before
    this.#declare(this.#current)
    await this.#until(this.#current, 'served')
    this.open.port = this.#frontends[this.#current]?.port ?? 0
    rmSync(join(this.#stage.folder, 'cluster-1', `guest-${before}.yaml`))
    await this.#until(before, 'refused')
  }

  #declare(which: number): void {
    this.#stage.declareOther(`guest-${which}`, this.#frontends[which]?.port ?? 0, this.#pods)
  }

  async #until(which: number, state: 'served' | 'refused'): Promise<void> {
    const to = this.#frontends[which] ?? this.open
    for (const end = performance.now() + 20_000; performance.now() < end; ) {
      const now = await new Promise<string>(resolve => {
        const socket = connect(to, () => socket.write('.'))
        socket.once('data', () => resolve('served')).once('error', () => resolve('refused'))
        socket.once('data', () => socket.destroy())
      })
      if (now === state) return
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    throw new Error(`${to.host}:${to.port} is not ${state}`)
  }
}

/** A connection that lasts from the first reload to the last, and says something after each. */
async function lastingConnection(to: { readonly host: string; readonly port: number }) {
  const socket = connect(to)
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  let [said, heard, isCut] = [0, 0, false]
  socket.on('data', data => {
    heard += data.length
  })
  socket.on('error', () => {
    isCut = true
  })
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
  socket.once('end', () => {
    isCut ||= !socket.writableEnded
  })
  return {
    speak: () => {
      said++
      socket.write('.')
    },
    close: async () => {
      socket.end()
      await closed
      return !isCut && heard === said
    },
  }
}
