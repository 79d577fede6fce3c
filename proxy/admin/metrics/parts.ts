/** Where the values of the metrics come from, and what describes one. */
import type { DnsStats } from '../../model/stats/dns.ts'
import type { HealthStats } from '../../model/stats/health.ts'
import type { HookFaultCount, PluginCounter } from '../../model/stats/plugin.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { GaugeParts } from './gauges.ts'

export interface MetricsParts extends GaugeParts {
  dns(): DnsStats
  health(): HealthStats
  plugins(): readonly PluginCounter[]
  pluginFaults(): readonly HookFaultCount[]
  /** With it, those who ask for OpenMetrics get it, with a recent flow for each bucket of dial times. */
  readonly exemplars?: Clock | undefined
}

export interface MetricDescription {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
}
