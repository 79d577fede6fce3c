/** The registry of all metrics of one runtime. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Counter, collectDefaultMetrics, Gauge, type MetricObject, Registry } from 'prom-client'
import type { FlowObserver } from '../model/flow.ts'
import type { DnsStats } from '../model/stats/dns.ts'
import type { HealthStats } from '../model/stats/health.ts'
import type { HookFaultCount, PluginCounter } from '../model/stats/plugin.ts'
import type { Clock } from '../model/time/clock.ts'
import { addDnsMetrics } from './dns-metrics.ts'
import { FlowMetrics } from './flow-metrics.ts'
import { addGauges, type GaugeParts } from './gauges.ts'
import { addHealthMetrics } from './health-metrics.ts'
import { openMetricsOf } from './open-metrics.ts'
import { addPluginFaults, followPluginCounters } from './plugin-counters.ts'

export interface MetricsParts extends GaugeParts {
  dns(): DnsStats
  health(): HealthStats
  plugins(): readonly PluginCounter[]
  pluginFaults(): readonly HookFaultCount[]
  /** With it, those who ask for OpenMetrics get it, with a recent flow for each bucket of dial times. */
  readonly exemplars?: Clock | undefined
}

export interface Metrics {
  readonly flows: FlowObserver
  /** Prometheus text, format 0.0.4. */
  text(): Promise<string>
  /** The same as OpenMetrics, with exemplars; undefined if none are kept. */
  openMetrics(): Promise<string> | undefined
  /** What there is, for the documentation; without the counters of plugins. */
  described(): MetricDescription[]
}

export interface MetricDescription {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
}

/** Uses a registry of its own, so that two runtimes in one process do not mix. */
export function createMetrics(parts: MetricsParts): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  let status = parts.status
  addGauges(registry, { ...parts, status: () => status() })
  const flows = new FlowMetrics(registry, parts.directory, parts.exemplars)
  addDnsMetrics(registry, () => parts.dns())
  addHealthMetrics(registry, () => parts.health())
  addPluginFaults(registry, () => parts.pluginFaults())
  const begin = () => {
    const now = parts.status()
    status = () => now
    followPluginCounters(registry, () => parts.plugins())
  }
  return {
    flows,
    described: () => registry.getMetricsAsArray().map(describe),
    text: async () => {
      begin()
      return `${(await textsOf(registry)).join('\n\n')}\n`
    },
    openMetrics: () => {
      if (!parts.exemplars) return undefined
      begin()
      const { dials } = flows
      const change = (name: string, text: string) => openMetricsOf(text, name === dials.name ? dials.exemplars() : [])
      return textsOf(registry, change).then(texts => `${texts.join('\n')}\n# EOF\n`)
    },
  }
}

/** prom-client's types leave out the help, the labels and the type of a metric. */
function describe(metric: MetricObject): MetricDescription {
  const { name, help, labelNames = [] } = metric as unknown as MetricDescription & { labelNames?: readonly string[] }
  const type = metric instanceof Counter ? 'counter' : metric instanceof Gauge ? 'gauge' : 'histogram'
  return { name, help, type, labels: labelNames }
}

/** One metric at a time: with thousands of services the whole page at once would block the event loop for 100 ms. */
async function textsOf(registry: Registry, change = (_name: string, text: string) => text): Promise<string[]> {
  const texts: string[] = []
  for (const { name } of registry.getMetricsAsArray()) {
    texts.push(change(name, await registry.getSingleMetricAsString(name)))
    await nextTurn()
  }
  return texts
}
