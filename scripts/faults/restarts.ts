/** Restarts under load: each new process takes over from the one that runs, every second one as another version. */
import { connections, datagrams, failures, type Load, longLived, probes, questions, type Tally } from './load.ts'
import { type Engine, type LogLine, Stage, type Starlane } from './stage.ts'

export interface RestartsResult {
  readonly tallies: readonly Tally[]
  /** From the start of a process until it serves, in milliseconds. */
  readonly takeoverMs: readonly number[]
  /** Of that, from its first word to its predecessor. */
  readonly handoverMs: readonly number[]
  readonly versions: readonly string[]
  /** Why flows were refused or attempts failed, as the processes logged it: at most a line a second for each. */
  readonly refusals: Readonly<Record<string, number>>
  /** Connections that old processes cut at the end of their drain. */
  readonly cut: number
  /** Exit codes of the old processes. */
  readonly codes: readonly (number | string)[]
  /** Sockets of the last process once nothing is open, minus those of the first before the load. */
  readonly leftSockets: number
  /** Processes that are left at the end, the last one not counted. */
  readonly leftProcesses: number
}

export interface RestartsOptions {
  readonly engine: Engine
  readonly restarts: number
  readonly perSecond: number
  readonly drain?: string
  /** How long clients wait for an answer; with it dials wait long, too. For tests on a machine that may be busy for seconds. */
  readonly patienceMs?: number
  readonly said?: (text: string) => void
}

export async function restarts({
  engine,
  restarts: count,
  perSecond,
  drain = '5s',
  patienceMs,
  said,
}: RestartsOptions): Promise<RestartsResult> {
  const stage = new Stage({ engine, drain, isPatient: patienceMs !== undefined })
  try {
    await stage.populate()
    const other = stage.copyAs('9.9.9')
    let current: Starlane = stage.run()
    await current.logged('ready')
    const before = sockets(current.pid)
    const loads: Load[] = [
      connections(stage.tcp, perSecond, patienceMs),
      longLived(stage.tcp, 50, 50, 3000, patienceMs),
      datagrams(stage.udp, 50, perSecond / 2, patienceMs),
      questions(stage.dns, 'tcp.default.svc.cluster.local', perSecond / 4, patienceMs),
      probes(stage.admin, '/readyz', 20, patienceMs),
    ]
    const old: Starlane[] = []
    const takeoverMs: number[] = []
    const handoverMs: number[] = []
    const versions: string[] = []
    for (let i = 0; i < count; i++) {
      if (i % 2 === 0) stage.write({ proxy: { limits: { connections: 10_000 + i } } })
      const began = performance.now()
      const next = stage.run(i % 2 === 0 ? other : undefined)
      const ready = await next.logged('ready')
      takeoverMs.push(performance.now() - began)
      versions.push(String((await next.logged('handover.found')).version))
      handoverMs.push(timeOf(ready) - timeOf(await current.logged('handover.began')))
      old.push(current)
      current = next
      const soFar = loads.map(({ tally }) => `${tally.kind} ${tally.asked}/${failures(tally)}`).join(', ')
      said?.(`${engine}: restart ${i + 1}, ${Math.round(takeoverMs.at(-1) ?? 0)} ms; asked/failed: ${soFar}`)
      // The one before the last should have ended, so that processes do not pile up.
      await old.at(-3)?.ended
    }
    const tallies = await Promise.all(loads.map(load => load.stop()))
    const codes = await Promise.all(old.map(({ ended }) => ended))
    const cut = old
      .flatMap(({ lines }) => lines.filter(({ event }) => event === 'stop.done'))
      .reduce((sum, { cutConnections }) => sum + Number(cutConnections), 0)
    const refusals: Record<string, number> = {}
    for (const { event, code, why, suppressed = 0 } of [...old, current].flatMap(({ lines }) => lines)) {
      if (event !== 'flow.refused') continue
      const reason = `${code}: ${String(why).replace(/[\d.:]+/g, 'N')}`
      refusals[reason] = (refusals[reason] ?? 0) + 1 + Number(suppressed)
    }
    // The first process may have had one for a moment, of a health check, when it was looked at.
    const leftSockets = Math.max(0, (await settled(current.pid, before)) - before)
    const leftProcesses = stage.running - 1
    return { tallies, takeoverMs, handoverMs, versions, refusals, cut, codes, leftSockets, leftProcesses }
  } finally {
    await stage.close()
  }
}

function timeOf({ time }: LogLine): number {
  return Date.parse(String(time))
}

function sockets(pid: number): number {
  return Stage.descriptors(pid).filter(target => target.startsWith('socket:')).length
}

/** UDP sessions end when they have been idle for a while; what stays is left. */
async function settled(pid: number, expected: number): Promise<number> {
  const end = performance.now() + 70_000
  for (;;) {
    const count = sockets(pid)
    if (count <= expected || performance.now() > end) return count
    await new Promise(resolve => setTimeout(resolve, 200))
  }
}
