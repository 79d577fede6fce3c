import type { Registry } from 'prom-client'
import { counted, type Sample } from './counted.ts'

/** A counter that a plugin made. `metric` has the plugin's name in it. */
export interface PluginCounter {
  readonly metric: string
  readonly help: string
  readonly value: number
}

const prefix = 'starlane_plugin_'
const ours = `${prefix}hook_faults_total`

/** How often a hook broke a law of the plugin API. */
export interface PluginFaults {
  readonly plugin: string
  readonly hook: string
  readonly count: number
}

export function addPluginFaults(registry: Registry, faults: () => readonly PluginFaults[]): void {
  counted(
    registry,
    {
      name: ours,
      help: 'Hooks that threw, returned a promise or broke another law.',
      labelNames: ['plugin', 'hook'],
    },
    () => faults().map(({ plugin, hook, count }): Sample => [{ plugin, hook }, count]),
  )
}

/** Plugins make counters when they like, and a reload takes them away: the registry is brought in step before a scrape. */
export function followPluginCounters(registry: Registry, counters: () => readonly PluginCounter[]): void {
  const now = new Set(counters().map(({ metric }) => metric))
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith(prefix) && name !== ours && !now.has(name)) registry.removeSingleMetric(name)
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
