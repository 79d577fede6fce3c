/** Metrics of flows, by service and cluster. */
import type { Registry } from 'prom-client'
import { counted, type Labels, type Sample } from './counted.ts'
import type { ClusterCounts, FlowCounts } from './flow-counts.ts'

const service = ['namespace', 'service', 'protocol']
const way = [...service, 'cluster']

export function addFlowMetrics(registry: Registry, counts: FlowCounts): void {
  const add = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) =>
    counted(registry, { name: `starlane_${name}_total`, help, labelNames }, samples)
  const perCluster = (samples: (row: ClusterCounts) => Iterable<Sample>) => () => rows(counts, samples)

  add(
    'attempts',
    'Attempts to reach a backend, by outcome. A flow makes one or more.',
    [...way, 'outcome'],
    perCluster(row => spread(row.labels, 'outcome', Object.entries(row.outcomes))),
  )
  add(
    'closes',
    'Closed flows that were connected, by reason.',
    [...way, 'reason'],
    perCluster(row => spread(row.labels, 'reason', Object.entries(row.reasons))),
  )
  add(
    'refusals',
    'Refused flows, by refusal code: the name of a plugin or a code of Starlane.',
    [...service, 'code'],
    () => refusals(counts),
  )
  add(
    'sent_bytes',
    'Bytes from clients to backends; those of open flows are counted about once a second.',
    way,
    perCluster(row => [[row.labels, row.sent]]),
  )
  add(
    'received_bytes',
    'Bytes from backends to clients; those of open flows are counted about once a second.',
    way,
    perCluster(row => [[row.labels, row.received]]),
  )
  counts.dials.register(registry)
}

function* rows(counts: FlowCounts, samples: (row: ClusterCounts) => Iterable<Sample>): Iterable<Sample> {
  for (const { clusters } of counts.all()) for (const row of clusters.values()) yield* samples(row)
}

function* refusals(counts: FlowCounts): Iterable<Sample> {
  for (const { labels, refusals: codes } of counts.all()) yield* spread(labels, 'code', codes)
}

/** Leaves out counts of 0, which would be most of the page. */
function* spread(labels: Labels, name: string, counts: Iterable<readonly [string, number]>): Iterable<Sample> {
  for (const [value, count] of counts) if (count > 0) yield [{ ...labels, [name]: value }, count]
}
