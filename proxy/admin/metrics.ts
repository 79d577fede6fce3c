import { setImmediate as breath } from 'node:timers/promises'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { FlowObserver } from '../model/flow.ts'
import { DnsMetrics, type DnsObserver } from './dns-metrics.ts'
import { FlowMetrics } from './flow-metrics.ts'
import { addGauges, type GaugeParts } from './gauges.ts'

export interface Metrics {
  readonly flows: FlowObserver
  readonly dns: DnsObserver
  /** Prometheus text, format 0.0.4. */
  text(): Promise<string>
}

/** All numbers of one runtime, in a registry of its own: two runtimes in one process do not mix. */
export function createMetrics(parts: GaugeParts): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  let status = parts.status
  addGauges(registry, { ...parts, status: () => status() })
  const flows = new FlowMetrics(registry, parts.directory)
  const dns = new DnsMetrics(registry)
  return {
    flows,
    dns,
    text: () => {
      const now = parts.status()
      status = () => now
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
