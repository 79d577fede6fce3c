/**
 * JavaScript CPU time per connection of the native engine, with the four built-in plugins, passive health and metrics. This
 * script writes the events into the rings in place of the pump, so that system calls and wake-ups are left out.
 * Run: npm run bench:native-decision
 */
import { FlowCounts } from '../proxy/admin/metrics/flow-counts.ts'
import { createBalancer } from '../proxy/balancer/balancers.ts'
import { createChain } from '../proxy/chain/chain.ts'
import { loadPlugins } from '../proxy/chain/loading/load.ts'
import type { NativeAddon, NativePump } from '../proxy/dataplane/native/addon.ts'
import { createNativeEngineWith } from '../proxy/dataplane/native/engine.ts'
import { at, Event, field, records, wordsOfRecord } from '../proxy/dataplane/native/rings.ts'
import { HealthMonitor } from '../proxy/health/monitor.ts'
import { type Backend, backendKey, destinationOf } from '../proxy/model/backend.ts'
import type { Directory } from '../proxy/model/directory.ts'
import { silentLog } from '../proxy/model/log.ts'
import type { Frontend, GlobalService } from '../proxy/model/service.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { flowLog } from '../proxy/runtime/flows/flow-log.ts'
import { commandLine } from '../scripts/command-line.ts'

commandLine(import.meta.url, {})

/** Connections per wake-up, as under load. */
const batch = 16
const rounds = 9
const connectionsPerRound = 100_000

const backends = Array.from({ length: 10 }, (_, i): Backend => {
  const cluster = `cluster-${1 + (i % 2)}`
  const [address, port, protocol] = [`10.0.0.${i + 1}`, 8080, 'TCP'] as const
  const key = backendKey(cluster, address, port, protocol)
  const destination = destinationOf(undefined, address, port, protocol)
  const state = { state: 'active', serving: true, health: 'up', weight: 100 } as const
  return Object.freeze({
    key,
    destination,
    cluster,
    remote: i % 2 === 1,
    address,
    family: 4,
    port,
    protocol,
    ports: [],
    ...state,
  })
})
const frontend: Frontend = Object.freeze({
  ...{ key: '10.96.0.1:80/TCP', service: 'default/bench', ip: '10.96.0.1', port: 80, protocol: 'TCP', name: '' },
  backends: Object.freeze(backends),
} as const)
const service: GlobalService = Object.freeze({
  ...{ key: 'default/bench', namespace: 'default', name: 'bench', local: undefined, members: [], parked: [] },
  ...{ settings: { global: true, shared: true, affinity: 'none' as const, clusterOrder: [] }, changedAt: 0 },
  ...{ frontends: [frontend], backends },
} as const)
const directory: Directory = {
  service: () => service,
  services: () => [service].values(),
  servicesAt: () => [service.key],
  size: 1,
  hasNamespace: () => true,
  hasPod: () => false,
  synced: true,
  changedAt: 0,
  onChange: () => () => {},
}

const common = { clock: systemClock, log: silentLog, random: Math.random }
const clusters = ['cluster-1', 'cluster-2'].map((name, i) => ({ name, id: i + 1, local: i === 0 }))
const uses = ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity'].map(use => ({ use }))
const host = { clusters: () => clusters, ...common }
const { plugins } = await loadPlugins({ uses, folder: process.cwd(), placeOf: () => 'bench', host })
const health = new HealthMonitor({
  ...{ directory, onVerdict: () => {}, onSilent: () => {}, ...common },
  options: {
    active: { type: 'none' },
    passive: { consecutive: 5, ejectMs: 30_000, maxEjectMs: 300_000, maxPercent: 50 },
    services: 'global',
  },
})
health.start()
const chain = createChain({
  ...{ plugins, directory, ...common },
  balancer: openFlows => createBalancer('round-robin', { random: Math.random, openFlows }),
  observers: [
    { result: (flow, backend, result) => health.result(flow, backend, result) },
    new FlowCounts(directory),
    flowLog(silentLog, systemClock),
  ],
})

let words = new Int32Array()
let wake = () => {}
class Script implements NativePump {
  readonly memory = new ArrayBuffer(4 * (at.commands + records * wordsOfRecord))
  constructor(onEvents: () => void) {
    words = new Int32Array(this.memory)
    wake = onEvents
  }
  listenTcp = () => 0
  listenUdp = () => 0
  adoptTcp = () => 0
  adoptUdp = () => 0
  kick(): void {}
  hold(): void {}
  stop(): void {}
  refill(): void {}
  openTunnel = () => 0
  requestStream(): void {}
  answerStream(): void {}
  leaveTunnel(): void {}
  details = () => Buffer.alloc(0)
  tunnelBytes(): void {}
}
const addon: Pick<NativeAddon, 'Pump'> = { Pump: Script }

function tell(kind: number, slot: number, generation: number, listener = 0): void {
  const head = words[at.eventHead] as number
  const record = at.events + (head & (records - 1)) * wordsOfRecord
  words.fill(0, record, record + wordsOfRecord)
  words[record + field.kind] = kind
  words[record + field.slot] = slot
  words[record + field.generation] = generation
  words[record + field.listener] = listener
  words[record + field.port] = 40_000 + slot
  words[record + field.family] = 4
  words[record + field.address] = 0x0a_00_00_0a
  words[at.eventHead] = head + 1
}

function hear(): void {
  words[at.scriptAsleep] = 0
  wake()
  words[at.commandTail] = words[at.commandHead] as number
}

const engine = createNativeEngineWith(addon, {
  ...{ chooser: chain, ...common },
  options: {
    dial: { timeoutMs: 1000, attempts: 3, budgetMs: 5000 },
    idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
    ...{ drainMs: 30_000, limits: { connections: 10_000, udpSessions: 10_000 } },
  },
})
await engine.listen(frontend, service)

const costs: number[] = []
for (let round = 0, generation = 0; round < rounds; round++) {
  const before = process.cpuUsage()
  for (let done = 0; done < connectionsPerRound; done += batch, generation++) {
    for (let slot = 0; slot < batch; slot++) tell(Event.accepted, slot, generation, 1)
    hear()
    for (let slot = 0; slot < batch; slot++) tell(Event.connected, slot, generation)
    hear()
    for (let slot = 0; slot < batch; slot++) tell(Event.gone, slot, generation)
    hear()
    // The event loop runs microtasks between two wake-ups.
    await Promise.resolve()
  }
  const { user, system } = process.cpuUsage(before)
  costs.push((user + system) / connectionsPerRound)
}
const [best = 0] = costs.toSorted((a, b) => a - b)
const median = costs.toSorted((a, b) => a - b)[rounds >> 1] ?? 0
console.log(
  `native decision: ${median.toFixed(2)} us of JavaScript per connection, median of ${rounds} rounds (best ${best.toFixed(2)})`,
)
engine.destroy()
await chain.close()
