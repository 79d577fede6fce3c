import { setImmediate as breath } from 'node:timers/promises'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { FlowObserver } from '../model/flow.ts'
import { addDnsMetrics, type DnsNumbers } from './dns-metrics.ts'
import { FlowMetrics } from './flow-metrics.ts'
import { addGauges, type GaugeParts } from './gauges.ts'
import { addHealthMetrics, type HealthNumbers } from './health-metrics.ts'
import { addPluginFaults, followPluginCounters, type PluginCounter, type PluginFaults } from './plugin-counters.ts'

export interface MetricsParts extends GaugeParts {
  dns(): DnsNumbers
  health(): HealthNumbers
  plugins(): readonly PluginCounter[]
  pluginFaults(): readonly PluginFaults[]
}

export interface Metrics {
  readonly flows: FlowObserver
  /** Prometheus text, format 0.0.4. */
  text(): Promise<string>
}

/** All numbers of one runtime, in a registry of its own: two runtimes in one process do not mix. */
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

/** One metric at a time: with thousands of services the whole page at once would hold up flows for a tenth of a second. */
async function textOf(registry: Registry): Promise<string> {
  const texts: string[] = []
  for (const { name } of registry.getMetricsAsArray()) {
    texts.push(await registry.getSingleMetricAsString(name))
    await breath()
  }
  return `${texts.join('\n\n')}\n`
}
