import { Gauge, type Registry } from 'prom-client'
import type { Backend } from '../model/backend.ts'
import type { Directory } from '../model/directory.ts'
import type { Status } from '../model/views.ts'
import type { Labels, Sample } from './counted.ts'

/** Where the numbers come from that are true of a moment; each is asked once per scrape. */
export interface GaugeParts {
  readonly directory: Directory
  status(): Status
  /** What the engine holds open now. */
  open(): { readonly connections: number; readonly udpSessions: number; readonly listeners: number }
}

/** The states of a link, all of them always present, so that an alert has a 0 to rise from. */
const linkStates = ['syncing', 'live', 'lost', 'stale'] as const

export function addGauges(registry: Registry, { directory, status, open }: GaugeParts): void {
  const add = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) =>
    new Gauge({
      name: `starlane_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        for (const [labels, value] of samples()) this.set(labels, value)
      },
    })

  add('info', 'Always 1; the version runs.', ['version', 'cluster'], () => {
    const { version, cluster } = status()
    return [[{ version, cluster }, 1]]
  })
  add('ready', '1 once sources, DNS and listeners have come up.', [], () => [[{}, Number(status().ready)]])
  add('connections', 'TCP connections open now.', [], () => [[{}, open().connections]])
  add('udp_sessions', 'UDP sessions open now.', [], () => [[{}, open().udpSessions]])
  add('listeners', 'Addresses that clients can dial now.', [], () => [[{}, open().listeners]])
  add('services', 'Services in the directory.', [], () => [[{}, directory.size]])
  add('backends', 'Backends that take part, by what is known of them.', ['cluster', 'state', 'health'], () =>
    backends(directory),
  )
  add('cluster_link', '1 for the state that the link to a cluster is in.', ['cluster', 'state'], () =>
    status().clusters.flatMap(({ name, link }) =>
      linkStates.map((state): Sample => [{ cluster: name, state }, Number(link.state === state)]),
    ),
  )
  add('cluster_services', 'Services that a cluster declares.', ['cluster'], () =>
    status().clusters.map(({ name, services }): Sample => [{ cluster: name }, services]),
  )
  add('cluster_changed_age_seconds', 'Time since a source last said something new.', ['cluster'], () => {
    const { clusters, now } = status()
    return clusters.flatMap(({ name, changedAt }): Sample[] =>
      changedAt === undefined ? [] : [[{ cluster: name }, Math.max(0, now - changedAt) / 1000]],
    )
  })
  add('problems', 'What is wrong and does not stop the rest, by error code.', ['code'], () =>
    tally(status().problems, ({ code }) => ({ code })),
  )
}

function backends(directory: Directory): Iterable<Sample> {
  const all = [...directory.services()].flatMap((service): readonly Backend[] => service.backends)
  return tally(all, ({ cluster, state, health }) => ({ cluster, state, health }))
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
