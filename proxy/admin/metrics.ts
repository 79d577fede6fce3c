/** The metrics of one runtime: flows are counted from the start, the page is made when it is asked for. */
import type { FlowObserver } from '../model/flow.ts'
import { FlowCounts } from './metrics/flow-counts.ts'
import type { MetricDescription, MetricsParts } from './metrics/parts.ts'
import type { MetricsRegistry } from './metrics/registry.ts'

export type { MetricDescription, MetricsParts } from './metrics/parts.ts'

export interface Metrics {
  readonly flows: Omit<FlowObserver, 'connecting'>
  /** Prometheus text, format 0.0.4. The library for it is loaded with the first call. */
  text(): Promise<string>
  /** The same as OpenMetrics, with exemplars; undefined if none are kept. */
  openMetrics(): Promise<string> | undefined
  /** What there is, for the documentation; without the counters of plugins. */
  described(): Promise<MetricDescription[]>
}

export function createMetrics(parts: MetricsParts): Metrics {
  const flows = new FlowCounts(parts.directory, parts.exemplars)
  let loading: Promise<MetricsRegistry> | undefined
  const registry = () => {
    loading ??= import('./metrics/registry.ts').then(({ MetricsRegistry }) => new MetricsRegistry(parts, flows))
    return loading
  }
  return {
    flows,
    described: async () => (await registry()).described(),
    text: async () => (await registry()).text(),
    openMetrics: () => (parts.exemplars ? registry().then(all => all.openMetrics()) : undefined),
  }
}
