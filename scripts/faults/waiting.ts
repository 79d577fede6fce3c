/**
 * How long processes have waited for a processor, as the kernel counts it (the second field of /proc/PID/task/TID/schedstat), so that what fails
 * on a machine that is too busy is told apart from what Starlane has lost. Also counts datagrams that no socket had room for.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { Loss } from './load.ts'

interface Sample {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Since the sample before: the longest that a thread of one of the processes has waited. */
  readonly waitedMs: number
}

const everyMs = 250

export class Waiting {
  readonly #pids: () => readonly number[]
  readonly #samples: Sample[] = []
  readonly #timer: NodeJS.Timeout
  /** By thread, in nanoseconds. */
  #before = new Map<string, number>()
  readonly #droppedBefore = droppedDatagrams()

  constructor(pids: () => readonly number[]) {
    this.#pids = pids
    this.#timer = setInterval(() => this.#sample(), everyMs)
    this.#sample()
  }

  /** Of the time between these two, how long the most delayed thread of each quarter of a second had no processor. */
  waitedMs(since: number, until: number): number {
    const within = this.#samples.filter(({ at }) => at >= since && at <= until + everyMs)
    return Math.round(within.reduce((sum, { waitedMs }) => sum + waitedMs, 0))
  }

  /** As a share of all the time, from 0 to 1. */
  get share(): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (!first || !last || last.at === first.at) return 0
    return this.waitedMs(first.at, last.at) / (last.at - first.at)
  }

  /** Datagrams that the kernel has dropped since the start, as their socket was full: its process had not read. */
  get droppedDatagrams(): number {
    return droppedDatagrams() - this.#droppedBefore
  }

  /** Those losses that took a second at least, half of which the processes had no processor. */
  starved(losses: readonly Loss[]): readonly Loss[] {
    return losses.filter(({ since, at }) => at - since >= 1000 && this.waitedMs(since, at) >= (at - since) / 2)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #sample(): void {
    const now = new Map<string, number>()
    let waitedNs = 0
    for (const pid of this.#pids()) {
      for (const [thread, ns] of threadsOf(pid)) {
        now.set(thread, ns)
        waitedNs = Math.max(waitedNs, ns - (this.#before.get(thread) ?? ns))
      }
    }
    this.#before = now
    this.#samples.push({ at: performance.timeOrigin + performance.now(), waitedMs: waitedNs / 1e6 })
  }
}

/** A process that has ended has none. */
function threadsOf(pid: number): [thread: string, waitedNs: number][] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(thread => {
      const [, waited = '0'] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')
      return [thread, Number(waited)]
    })
  } catch {
    return []
  }
}

/** `RcvbufErrors` of this network namespace (/proc/net/snmp). */
function droppedDatagrams(): number {
  const [names = '', values = ''] = readFileSync('/proc/net/snmp', 'utf8')
    .split('\n')
    .filter(line => line.startsWith('Udp:'))
  const at = names.split(' ').indexOf('RcvbufErrors')
  return Number(values.split(' ')[at] ?? 0)
}
