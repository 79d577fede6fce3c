/** Shared by the health tests: a probe with scripted results, and a monitor that uses it. */

import { HealthMonitor } from '../../../proxy/health/monitor.ts'
import type { HealthOptions, HttpCheck, PassiveOptions, TcpCheck } from '../../../proxy/health/options.ts'
import { type CheckedEndpoint, type CheckResult, failed, type Probe, passed } from '../../../proxy/health/probe.ts'
import { endpointText } from '../../../proxy/model/address.ts'
import type { Backend, Health } from '../../../proxy/model/backend.ts'
import type { Result } from '../../../proxy/model/flow.ts'
import type { Log, LogFields } from '../../../proxy/model/log.ts'
import { FakeClock } from '../../support/clock.ts'
import { type FakeDirectory, flow } from '../../support/model.ts'

export class FakeProbe implements Probe {
  readonly checks: { at: number; endpoint: string }[] = []
  inFlight = 0
  mostInFlight = 0
  /** What an address answers; passes unless set. */
  readonly answers = new Map<string, CheckResult>()
  /** How long that takes; nothing unless set. */
  readonly slow = new Map<string, number>()
  readonly #clock: FakeClock
  readonly #cut = new Set<() => void>()

  constructor(clock: FakeClock) {
    this.#clock = clock
  }

  async check({ address, port }: CheckedEndpoint): Promise<CheckResult> {
    const endpoint = endpointText(address, port)
    this.checks.push({ at: this.#clock.now(), endpoint })
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight)
    await this.#scheduleReturn(this.slow.get(endpoint) ?? 0)
    this.inFlight--
    return this.answers.get(endpoint) ?? passed
  }

  destroy(): void {
    for (const cut of [...this.#cut]) cut()
  }

  down(...endpoints: string[]): void {
    for (const endpoint of endpoints) this.answers.set(endpoint, failed('refused'))
  }

  up(...endpoints: string[]): void {
    for (const endpoint of endpoints) this.answers.delete(endpoint)
  }

  times(endpoint: string): number[] {
    return this.checks.filter(check => check.endpoint === endpoint).map(check => check.at)
  }

  #scheduleReturn(ms: number): Promise<void> | undefined {
    if (ms === 0) return undefined
    return new Promise(resolve => {
      const end = () => {
        cancel()
        this.#cut.delete(end)
        resolve()
      }
      const cancel = this.#clock.after(ms, end)
      this.#cut.add(end)
    })
  }
}

export class RecordedLog implements Log {
  readonly lines: { level: string; event: string; fields: LogFields }[] = []

  debug(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'debug', event, fields })
  }

  info(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'info', event, fields })
  }

  warn(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'warn', event, fields })
  }

  error(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'error', event, fields })
  }

  of(event: string): LogFields[] {
    return this.lines.filter(line => line.event === event).map(line => line.fields)
  }
}

export const tcp: TcpCheck = {
  type: 'tcp',
  intervalMs: 2000,
  relax: 1,
  traffic: false,
  timeoutMs: 1000,
  rise: 2,
  fall: 3,
}
export const http: HttpCheck = { ...tcp, type: 'http', path: '/healthz', status: { min: 200, max: 299 } }
export const passive: PassiveOptions = { consecutive: 5, ejectMs: 30_000, maxEjectMs: 300_000, maxPercent: 50 }

/** A monitor with a fake clock and recorded output. `random` is 0.5 by default: no jitter, and first checks after 100 ms. */
export function watch(
  t: { teardown(run: () => unknown): void },
  directory: FakeDirectory,
  given: Partial<HealthOptions> & { random?: () => number; onVerdict?: (key: string, health: Health) => void } = {},
) {
  const { random = () => 0.5, onVerdict = () => {}, ...options } = given
  const untested: string[] = []
  const clock = new FakeClock()
  const log = new RecordedLog()
  const probe = new FakeProbe(clock)
  const silent: string[][] = []
  const verdicts: [key: string, health: Health][] = []
  const monitor = new HealthMonitor({
    directory,
    options: { active: tcp, passive, services: 'global', ...options },
    probes: { tcp: () => probe, http: () => probe },
    clock,
    random,
    log,
    onSilent: keys => void silent.push([...keys]),
    onUntested: key => void untested.push(key),
    onVerdict: (key, health) => {
      verdicts.push([key, health])
      onVerdict(key, health)
    },
  })
  monitor.start()
  t.teardown(() => monitor.close())

  /** Reports results of live traffic of the first service with this backend. */
  const traffic = (backend: Backend, outcome: Result['outcome'], times = 1) => {
    const service = [...directory.services()].find(s => s.backends.some(b => b.key === backend.key))
    for (let i = 0; i < times && service; i++) monitor.result(flow(service), backend, { outcome, ms: 1 })
  }
  /** Reports connections of one client that the backend resets before its first byte, or that end well. */
  const connections = (backend: Backend, address: string, end: 'reset' | 'done', times = 1) => {
    const service = [...directory.services()].find(s => s.backends.some(b => b.key === backend.key))
    const received = end === 'reset' ? 0 : 10
    for (let i = 0; i < times && service; i++) {
      const asked = flow(service, { client: { address, port: 1 } })
      monitor.connecting(asked)
      monitor.result(asked, backend, { outcome: 'connected', ms: 1 })
      monitor.closed(asked, backend, {
        sent: 10,
        received,
        ms: 20,
        reason: end === 'reset' ? 'backend-reset' : 'done',
      })
    }
  }
  return { monitor, clock, log, probe, verdicts, untested, silent, traffic, connections }
}

/** Seeded random numbers: the same in every run. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
}
