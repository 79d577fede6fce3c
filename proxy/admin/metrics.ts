/** The registry of all metrics of one runtime. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { FlowObserver } from '../model/flow.ts'
import type { DnsStats } from '../model/stats/dns.ts'
import type { HealthStats } from '../model/stats/health.ts'
import type { HookFaultCount, PluginCounter } from '../model/stats/plugin.ts'
import { addDnsMetrics } from './dns-metrics.ts'
import { FlowMetrics } from './flow-metrics.ts'
import { addGauges, type GaugeParts } from './gauges.ts'
import { addHealthMetrics } from './health-metrics.ts'
import { addPluginFaults, followPluginCounters } from './plugin-counters.ts'

export interface MetricsParts extends GaugeParts {
  dns(): DnsStats
  health(): HealthStats
  plugins(): readonly PluginCounter[]
  pluginFaults(): readonly HookFaultCount[]
}

export interface Metrics {
  readonly flows: FlowObserver
  /** Prometheus text, format 0.0.4. */
  text(): Promise<string>
}

/** Uses a registry of its own, so that two runtimes in one process do not mix. */
export function createMetrics(parts: MetricsParts): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  let status = parts.status
  addGauges(registry, { ...parts, status: () => status() })
  const flows = new FlowMetrics(registry, parts.directory)
  addDnsMetrics(registry, () => parts.dns())
  addHealthMetrics(registry, () => parts.health())
  addPluginFaults(registry, () => parts.pluginFaults())
  return {
    flows,
    text: () => {
      const now = parts.status()
      status = () => now
      followPluginCounters(registry, () => parts.plugins())
      return textOf(registry)
    },
  }
}

/** One metric at a time: with thousands of services the whole page at once would block the event loop for 100 ms. */
async function textOf(registry: Registry): Promise<string> {
  const texts: string[] = []
  for (const { name } of registry.getMetricsAsArray()) {
    texts.push(await registry.getSingleMetricAsString(name))
    await nextTurn()
  }
  return `${texts.join('\n\n')}\n`
}
