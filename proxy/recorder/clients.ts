/** Which clients are busiest, as the records of the last minute say. Counted when somebody asks, so flows pay nothing for it. */
import { type ClientTraffic, maxServicesOfClient } from '../model/flows/traffic.ts'
import type { Clock } from '../model/time/clock.ts'
import type { FlowNames } from './filter.ts'
import { outcomeOf } from './reader.ts'
import type { Recorder } from './recorder.ts'

const windowMs = 60_000
const maxClients = 100

interface Counts {
  connected: number
  open: number
  failed: number
  refused: number
  sent: number
  received: number
  readonly services: Map<string, number>
}

/** The busiest first, at most a hundred. */
export function clientTraffic(recorder: Recorder, names: FlowNames, clock: Clock): ClientTraffic[] {
  const { flows } = recorder
  const after = clock.now() - windowMs
  const clients = new Map<string, Counts>()
  let oldest = clock.now()
  for (let record = flows.next - 1; flows.has(record) && flows.timeOf(record) >= after; record--) {
    const entry = flows.read(record)
    oldest = entry.time
    const counts = clients.get(entry.client) ?? {
      ...{ connected: 0, open: 0, failed: 0, refused: 0, sent: 0, received: 0 },
      services: new Map<string, number>(),
    }
    clients.set(entry.client, counts)
    const outcome = outcomeOf(entry)
    if (outcome === 'forwarded') counts.connected++
    else if (outcome === 'refused') counts.refused++
    else if (outcome === 'failed') counts.failed++
    if (outcome === 'forwarded' && entry.reason === '') counts.open++
    counts.sent += entry.sent
    counts.received += entry.received
    counts.services.set(entry.service, (counts.services.get(entry.service) ?? 0) + 1)
  }
  const seconds = Math.max(clock.now() - oldest, 1000) / 1000
  return [...clients]
    .sort(([, a], [, b]) => flowsOf(b) - flowsOf(a))
    .slice(0, maxClients)
    .map(([address, counts]) => {
      const { namespace, pod_name: pod } = names.ofClient(address) ?? {}
      const all = flowsOf(counts)
      const services = [...counts.services].sort(([, a], [, b]) => b - a).slice(0, maxServicesOfClient)
      return {
        address,
        ...(namespace === undefined ? {} : { namespace }),
        ...(pod === undefined ? {} : { pod }),
        flows: all,
        perSecond: counts.connected / seconds,
        open: counts.open,
        failed: counts.failed / all,
        refused: counts.refused / all,
        sent: counts.sent,
        received: counts.received,
        services: services.map(([service, flows]) => ({ service, flows })),
      }
    })
}

function flowsOf({ connected, failed, refused }: Counts): number {
  return Math.max(connected + failed + refused, 1)
}
