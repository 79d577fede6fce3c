/** A recorder with a clock of the test's, and all that reads it. */
import type { Backend } from '../../../proxy/model/backend.ts'
import type { Flow } from '../../../proxy/model/flow.ts'
import type { FlowEvent, FlowRecord } from '../../../proxy/model/flow-record.ts'
import { PodNames } from '../../../proxy/recorder/names.ts'
import { FlowObservers } from '../../../proxy/recorder/observer.ts'
import { FlowReader } from '../../../proxy/recorder/reader.ts'
import { Recorder, type RecorderOptions } from '../../../proxy/recorder/recorder.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, FakeDirectory, flow, globalService } from '../../support/model.ts'

export const here = backend({ address: '10.1.0.1', pod: 'web-1' })
export const there = backend({ address: '10.2.0.1', cluster: 'cluster-2' })
export const service = globalService({ backends: [here, there] })
export const other = globalService({ name: 'cart', namespace: 'shop', local: clusterService(), backends: [there] })

export function stage(options: Partial<RecorderOptions> = {}) {
  const clock = new FakeClock()
  const directory = new FakeDirectory(service, other)
  const recorder = new Recorder({ size: 64, rate: 100_000, questions: true, ...options }, clock)
  const names = new PodNames(directory, () => 'cluster-1')
  const reader = new FlowReader({
    ...{ recorder, clock, node: 'node-1', cluster: () => 'cluster-1' },
    client: address => names.ofClient(address),
    backend: (key, address) => names.ofBackend(key, address),
    route: cluster => (cluster === 'cluster-2' ? 'tunnel' : 'direct'),
    dns: () => ({ address: '127.0.0.1', port: 53 }),
    typeName: type => (type === 1 ? 'A' : `TYPE${type}`),
  })
  const observers = new FlowObservers({ recorder, reader, names, clock })
  return {
    ...{ clock, directory, recorder, reader, observers, names },
    /** The flows in the ring, oldest first. */
    flows: (): FlowRecord[] =>
      observers.past({ matches: () => true, last: 1000, sinceMs: undefined, follow: false }).flatMap(flowOf),
    newFlow: (given: Partial<Flow> = {}, to = service): Flow => ({ ...flow(to, given), record: 0 }) as Flow,
    connect: (one: Flow, to: Backend, ms = 2) => recorder.result(one, to, { outcome: 'connected', ms }),
    ask: (name: string, given: { client?: string; type?: number; rcode?: number; zone?: string } = {}) => {
      const { client = '10.1.0.1', type = 1, rcode = 0, zone = 'cluster.local.' } = given
      const wire = name.split('.').map(label => String.fromCharCode(label.length) + label)
      if (!recorder.wants(clock.now())) return
      const rest = { type, transport: 'udp', zone, rcode, addresses: [], bytes: 90, at: clock.now(), ms: 0.5 } as const
      recorder.question({ client: { address: client, port: 5000 }, name: `${wire.join('')}\0`, ...rest })
    },
  }
}

export function flowOf(event: FlowEvent): FlowRecord[] {
  return 'flow' in event ? [event.flow] : []
}

export function lostIn(events: readonly FlowEvent[]): number {
  return events.reduce((sum, event) => sum + ('lost_events' in event ? event.lost_events.num_events_lost : 0), 0)
}
