/** Gauges of the current state: links, services, backends, open flows, problems. */
import { Gauge, type Registry } from 'prom-client'
import type { Backend, BackendState, Health } from '../../model/backend.ts'
import { linkStates } from '../../model/cluster.ts'
import type { Directory } from '../../model/directory.ts'
import type { EngineStats } from '../../model/stats/engine.ts'
import { inTurns } from '../../model/time/turn.ts'
import type { Status } from '../../model/views.ts'
import { bounded, type Labels, type Sample } from './counted.ts'
import { addTunnelMetrics } from './tunnels.ts'
import { addUnderlayGauges } from './underlay.ts'

/** Where the values come from; each is called once per scrape. */
export interface GaugeParts {
  readonly directory: Directory
  /** Finds in turns what `status` is made of. */
  examine(): Promise<void>
  status(): Status
  open(): EngineStats & { readonly listeners: number }
}

type Samples = Iterable<Sample> | Promise<Iterable<Sample>>

export function addGauges(registry: Registry, { directory, status, open }: Omit<GaugeParts, 'examine'>): void {
  const add = (name: string, help: string, labelNames: string[], samples: () => Samples) =>
    new Gauge({
      name: `starlane_${name}`,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        const found = await samples()
        this.reset()
        for (const [labels, value] of found) this.set(bounded(labels), value)
      },
    })

  add('info', 'Always 1, with the version and the local cluster as labels.', ['version', 'cluster'], () => {
    const { version, cluster } = status()
    return [[{ version, cluster }, 1]]
  })
  add('ready', '1 once sources, DNS and listeners are up.', [], () => [[{}, Number(status().ready)]])
  add('connections', 'Open TCP connections.', [], () => [[{}, open().connections]])
  add('udp_sessions', 'Open UDP sessions.', [], () => [[{}, open().udpSessions]])
  add('listeners', 'Addresses on which clients can connect.', [], () => [[{}, open().listeners]])
  add('services', 'Services in the directory.', [], () => [[{}, directory.size]])
  add('backends', 'Backends that take part, by cluster, state and health.', ['cluster', 'state', 'health'], () =>
    backends(directory),
  )
  add('cluster_link', '1 for the current state of the link to a cluster, 0 for the others.', ['cluster', 'state'], () =>
    // All states, so that alerts see a change from 0 to 1.
    status().clusters.flatMap(({ name, link }) =>
      linkStates.map((state): Sample => [{ cluster: name, state }, Number(link.state === state)]),
    ),
  )
  add('cluster_services', 'Services declared by a cluster.', ['cluster'], () =>
    status().clusters.map(({ name, services }): Sample => [{ cluster: name }, services]),
  )
  add('cluster_changed_age_seconds', 'Time since the source of a cluster last reported a change.', ['cluster'], () => {
    const { clusters, now } = status()
    return clusters.flatMap(({ name, changedAt }): Sample[] =>
      changedAt === undefined ? [] : [[{ cluster: name }, Math.max(0, now - changedAt) / 1000]],
    )
  })
  addTunnelMetrics(registry, add, status)
  addUnderlayGauges(add, status)
  add('problems', 'Current problems, by error code.', ['code'], () =>
    tally(status().problems, ({ code }) => ({ code })),
  )
}

/** In turns, and without a text for each: there may be hundreds of thousands. */
async function backends(directory: Directory): Promise<Iterable<Sample>> {
  const samples: [Labels, number][] = []
  const samplesOf = new Map<string, Map<BackendState, Map<Health, [Labels, number]>>>()
  const sampleOf = ({ cluster, state, health }: Backend): [Labels, number] => {
    const known = samplesOf.get(cluster)?.get(state)?.get(health)
    if (known) return known
    const sample: [Labels, number] = [{ cluster, state, health }, 0]
    samples.push(sample)
    const byState = samplesOf.get(cluster) ?? new Map<BackendState, Map<Health, [Labels, number]>>()
    const byHealth = byState.get(state) ?? new Map<Health, [Labels, number]>()
    samplesOf.set(cluster, byState.set(state, byHealth.set(health, sample)))
    return sample
  }
  for await (const service of inTurns([...directory.services()])) {
    for (const backend of service.backends) sampleOf(backend)[1]++
  }
  return samples
}

function tally<T>(items: readonly T[], labelsOf: (item: T) => Labels): Iterable<Sample> {
  const counts = new Map<string, [Labels, number]>()
  for (const item of items) {
    const labels = labelsOf(item)
    const key = Object.values(labels).join(' ')
    counts.set(key, [labels, (counts.get(key)?.[1] ?? 0) + 1])
  }
  return counts.values()
}
