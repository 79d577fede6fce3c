/**
 * Clients in a process of their own, so that they ask and read however busy the process is that declares rounds and reads heaps.
 * The parent (`fork`) sends a {@link Demand} to begin, and `rest`, which is answered with the tallies when all answers have come; and so on.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { connections, datagrams, type Load, longLived, probes, questions, type Tally } from '../faults/load.ts'

/** A reply that is under way while its backend leaves the list is lost, as it is with conntrack: a client asks again. */
const againMs = 2000

interface Address {
  readonly host: string
  readonly port: number
}

export interface Demand {
  readonly tcp: Address
  readonly udp: Address
  readonly dns: Address
  readonly admin: Address
  /** Of TCP, UDP and DNS each. */
  readonly perSecond: number
  /** How long a client waits for its answer. */
  readonly patienceMs: number
}

export class Clients {
  readonly #child: ChildProcess
  readonly #demand: Demand
  #tallies: readonly Tally[] = []

  private constructor(child: ChildProcess, demand: Demand) {
    this.#child = child
    this.#demand = demand
  }

  static start(demand: Demand): Clients {
    const clients = new Clients(fork(fileURLToPath(import.meta.url)), demand)
    clients.goOn()
    return clients
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  goOn(): void {
    this.#child.send(this.#demand)
  }

  /** Resolves when no client waits for anything: with what became of all since the start. */
  async rest(): Promise<readonly Tally[]> {
    const answer = once(this.#child, 'message')
    this.#child.send('rest')
    const [tallies] = (await answer) as [readonly Tally[]]
    this.#tallies = tallies.map((tally, i) => sumOf(this.#tallies[i], tally))
    return this.#tallies
  }

  close(): void {
    this.#child.disconnect()
  }
}

function sumOf(before: Tally | undefined, tally: Tally): Tally {
  if (!before) return tally
  const failed = { ...before.failed }
  for (const [error, count] of Object.entries(tally.failed)) failed[error] = (failed[error] ?? 0) + count
  return {
    kind: tally.kind,
    asked: before.asked + tally.asked,
    answered: before.answered + tally.answered,
    failed,
    repeated: before.repeated + tally.repeated,
    unasked: before.unasked + tally.unasked,
    losses: [...before.losses, ...tally.losses],
    slowest: Math.max(before.slowest, tally.slowest),
  }
}

function loadsOf({ tcp, udp, dns, admin, perSecond, patienceMs }: Demand): Load[] {
  return [
    connections(tcp, perSecond, patienceMs),
    longLived(tcp, 20, 200, 5000, patienceMs),
    datagrams(udp, Math.min(100, perSecond), perSecond, patienceMs, againMs),
    questions(dns, 'tcp.default.svc.cluster.local', perSecond, patienceMs),
    probes(admin, '/metrics', 2, patienceMs),
  ]
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  const loads: Load[] = []
  process.on('message', async (message: Demand | 'rest') => {
    if (message !== 'rest') return void loads.push(...loadsOf(message))
    process.send?.(await Promise.all(loads.splice(0).map(load => load.stop())))
  })
  process.on('disconnect', () => process.exit())
}
