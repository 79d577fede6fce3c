/** A whole remote cluster goes silent: every packet to and from it is dropped, nothing is reset. Needs root and nft. */
import { connect } from 'node:net'
import { connections } from './load.ts'
import { failedText, nft, sleep } from './scene.ts'
import { type Engine, Stage } from './stage.ts'
import { Waiting } from './waiting.ts'

export interface SilenceResult {
  readonly asked: number
  /** Connections that failed: with a request in progress when the silence began; begun in the first two seconds of it, and later. */
  readonly failedInProgress: string
  readonly failedBefore: string
  readonly failedAfter: string
  /** Of all that failed: in whose time this machine had no processor for them. */
  readonly starved: number
  /** Of the connections begun later, until answered. */
  readonly slowestMs: number
  /** Until the last established connection was reset; undefined if one was not, within 20 s. */
  readonly heldResetMs: number | undefined
  /** From the end of the silence until the cluster is used again. */
  readonly healMs: number
}

export interface SilenceOptions {
  readonly engine: Engine
  readonly perSecond: number
  readonly said?: (text: string) => void
}

const graceMs = 2000
const heldFlows = 20

/** Undefined where packets cannot be dropped. */
export async function silence({ engine, perSecond, said }: SilenceOptions): Promise<SilenceResult | undefined> {
  if (!nft('add table inet starlane-faults')) return undefined
  const stage = new Stage({ engine, drain: '1s' })
  try {
    const local = [10, 11].map(last => stage.ip(last))
    const remote = [20, 21].map(last => stage.ip(last))
    for (const ip of local) await stage.echo(ip)
    const servers = await Promise.all(remote.map(ip => stage.echo(ip)))
    stage.declare('tcp', { 'cluster-1': local, 'cluster-2': remote })
    await stage.run().logged('ready')
    const inUse = () => servers.reduce((sum, { accepted }) => sum + accepted, 0)
    // Checks connect as well, but do not stay.
    const open = () => servers.reduce((sum, { sockets }) => sum + sockets.size, 0)
    const flows = await hold(stage, open)
    const before = connections(stage.tcp, perSecond)
    const waiting = new Waiting(() => [process.pid, ...stage.pids])
    await sleep(1000)
    const inProgress = before.stop()
    drop(remote)
    const silentAt = performance.now()
    const early = connections(stage.tcp, perSecond)
    const resets = flows.map(socket => {
      const timer = setInterval(() => socket.write('.'), 500)
      return new Promise<number>(resolve => {
        socket
          .on('error', () => {})
          .on('close', () => {
            clearInterval(timer)
            resolve(performance.now() - silentAt)
          })
      })
    })
    await sleep(graceMs)
    const begun = early.stop()
    const later = connections(stage.tcp, perSecond)
    const last = await Promise.race([
      Promise.all(resets).then(all => Math.max(...all)),
      sleep(20_000).then(() => undefined),
    ])
    await sleep(Math.max(0, 10_000 - (performance.now() - silentAt)))
    const tallies = await Promise.all([inProgress, begun, later.stop()])
    const [held, first, second] = tallies
    nft('flush table inet starlane-faults')
    const healedFrom = performance.now()
    const again = connections(stage.tcp, 50)
    // Checks connect too: they come before clients do.
    const checked = inUse() + 8
    while (inUse() < checked && performance.now() - healedFrom < 60_000) await sleep(5)
    const healMs = performance.now() - healedFrom
    await again.stop()
    waiting.stop()
    const result = {
      asked: first.asked + second.asked,
      failedInProgress: failedText(held),
      failedBefore: failedText(first),
      failedAfter: failedText(second),
      starved: tallies.reduce((sum, { losses }) => sum + waiting.starved(losses).length, 0),
      slowestMs: Math.round(second.slowest),
      heldResetMs: last === undefined ? undefined : Math.round(last),
      healMs: Math.round(healMs),
    }
    said?.(`${engine}: ${JSON.stringify(result)}`)
    return result
  } finally {
    nft('delete table inet starlane-faults')
    await stage.close()
  }
}

/** Connections to backends of the remote cluster. */
async function hold(stage: Stage, open: () => number) {
  const flows = []
  while (flows.length < heldFlows) {
    const before = open()
    const socket = connect(stage.tcp)
    socket.on('error', () => {})
    await new Promise(resolve => {
      socket.once('data', resolve)
      socket.write('.')
    })
    await sleep(50)
    if (open() > before) flows.push(socket)
    else socket.destroy()
  }
  return flows
}

function drop(ips: readonly string[]): void {
  const list = `{ ${ips.join(', ')} }`
  nft(`add chain inet starlane-faults output { type filter hook output priority 0; policy accept;
    ip daddr ${list} drop; ip saddr ${list} drop; }`)
}
