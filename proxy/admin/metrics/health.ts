/** Metrics of the health monitor. */
import { Gauge, type Registry } from 'prom-client'
import type { HealthStats } from '../../model/stats/health.ts'
import { counted, type Sample } from './counted.ts'

export function addHealthMetrics(registry: Registry, stats: () => HealthStats): void {
  const gauge = (name: string, help: string, value: (stats: HealthStats) => number) =>
    new Gauge({
      name: `starlane_health_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value(stats()))
      },
    })
  gauge('targets', 'Addresses under active checks.', stats => stats.targets)
  gauge('checks_in_flight', 'Checks in flight.', stats => stats.inFlight)
  gauge('check_late_seconds', 'How late the latest check started.', stats => stats.lateMs / 1000)
  gauge('ejected', 'Backends ejected by live traffic.', stats => stats.ejected)
  counted(
    registry,
    {
      name: 'starlane_health_checks_total',
      help: 'Checks by outcome; local is a fault of this machine, traffic a check that live traffic has replaced.',
      labelNames: ['outcome'],
    },
    () => Object.entries(stats().checks).map(([outcome, count]): Sample => [{ outcome }, count]),
  )
  counted(registry, { name: 'starlane_health_ejections_total', help: 'Ejections by live traffic.' }, () => [
    [{}, stats().ejections],
  ])
  counted(
    registry,
    { name: 'starlane_health_ejections_held_back_total', help: 'Ejections prevented by health.passive.maxPercent.' },
    () => [[{}, stats().heldBack]],
  )
}
