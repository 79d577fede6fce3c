import { Gauge, type Registry } from 'prom-client'
import { counted, type Sample } from './counted.ts'

/** What the health monitor counts, in the shape that it has there. */
export interface HealthNumbers {
  readonly targets: number
  readonly checks: Readonly<Record<string, number>>
  readonly inFlight: number
  readonly lateMs: number
  readonly ejected: number
  readonly ejections: number
  readonly heldBack: number
}

export function addHealthMetrics(registry: Registry, numbers: () => HealthNumbers): void {
  const gauge = (name: string, help: string, value: (n: HealthNumbers) => number) =>
    new Gauge({
      name: `starlane_health_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value(numbers()))
      },
    })
  gauge('targets', 'Addresses that are checked.', n => n.targets)
  gauge('checks_in_flight', 'Checks under way now.', n => n.inFlight)
  gauge('check_late_seconds', 'How late the newest check began.', n => n.lateMs / 1000)
  gauge('ejected', 'Backends that live traffic has ejected.', n => n.ejected)
  counted(
    registry,
    {
      name: 'starlane_health_checks_total',
      help: 'Checks by outcome; local is a fault of this machine.',
      labelNames: ['outcome'],
    },
    () => Object.entries(numbers().checks).map(([outcome, count]): Sample => [{ outcome }, count]),
  )
  counted(registry, { name: 'starlane_health_ejections_total', help: 'Ejections by live traffic.' }, () => [
    [{}, numbers().ejections],
  ])
  counted(
    registry,
    { name: 'starlane_health_ejections_held_back_total', help: 'Ejections that the ceiling of a pool prevented.' },
    () => [[{}, numbers().heldBack]],
  )
}
