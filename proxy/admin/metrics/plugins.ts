/** Metrics of plugins: their own counters, and the faults of their hooks. */
import type { Registry } from 'prom-client'
import type { HookFaultCount, PluginCounter } from '../../model/stats/plugin.ts'
import { counted, type Sample } from './counted.ts'

const prefix = 'starlane_plugin_'
const faultsMetric = `${prefix}hook_faults_total`

export function addPluginFaults(registry: Registry, faults: () => readonly HookFaultCount[]): void {
  counted(
    registry,
    {
      name: faultsMetric,
      help: 'Faults of plugin hooks: thrown errors, promises and other broken laws.',
      labelNames: ['plugin', 'hook'],
    },
    () => faults().map(({ plugin, hook, count }): Sample => [{ plugin, hook }, count]),
  )
}

/** Plugins may create counters at any time, and a reload removes them: updates the registry before each scrape. */
export function followPluginCounters(registry: Registry, counters: () => readonly PluginCounter[]): void {
  const now = new Set(counters().map(({ metric }) => metric))
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith(prefix) && name !== faultsMetric && !now.has(name)) registry.removeSingleMetric(name)
  }
  for (const { metric, help, labels = {} } of counters()) {
    if (registry.getSingleMetric(metric)) continue
    counted(registry, { name: metric, help, labelNames: Object.keys(labels) }, () =>
      counters()
        .filter(counter => counter.metric === metric)
        .map(({ value, labels: given = {} }) => [given, value]),
    )
  }
}
