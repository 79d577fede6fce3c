import type { Registry } from 'prom-client'
import { counted } from './counted.ts'

/** A counter that a plugin made. `metric` has the plugin's name in it. */
export interface PluginCounter {
  readonly metric: string
  readonly help: string
  readonly value: number
}

const prefix = 'starlane_plugin_'

/** Plugins make counters when they like, and a reload takes them away: the registry is brought in step before a scrape. */
export function followPluginCounters(registry: Registry, counters: () => readonly PluginCounter[]): void {
  const now = new Set(counters().map(({ metric }) => metric))
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith(prefix) && !now.has(name)) registry.removeSingleMetric(name)
  }
  for (const { metric, help } of counters()) {
    if (registry.getSingleMetric(metric)) continue
    counted(registry, { name: metric, help }, () =>
      counters()
        .filter(counter => counter.metric === metric)
        .map(({ value }) => [{}, value]),
    )
  }
}
