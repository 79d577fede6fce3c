/**
 * What machines of other sizes would carry, from the costs measured here. A thread is a core at most, so each of these is a limit, and the
 * lowest of them is the rate:
 *
 *     JavaScript  1 / (JavaScript's thread per connection)
 *     first pump  1 / (what it spends more than the others, and its share of the rest)
 *     pumps       N / (pumps per connection)
 *     cores       C / (all threads of Starlane per connection)
 *
 * A frontend of UDP is carried by one pump, so datagrams are those of the busy pumps where there are as many frontends, and those of one
 * pump for a single one. Nothing else is taken to run on the machine: clients and backends are elsewhere.
 */
import { median } from '../report/stats.ts'
import type { Sample } from '../report/table.ts'

/** Medians, in seconds of CPU. */
export interface Costs {
  readonly decision: number
  readonly pump: number
  /** More than its share that the first pump spends, with several. */
  readonly accepting: number
  readonly request: number
  readonly gibibyte: number
  /** A datagram there and back. */
  readonly roundTrip: number
}

export interface Predicted {
  readonly cores: number
  readonly pumps: number
  readonly connections: number
  /** Which limit it is. */
  readonly by: string
  readonly requests: number
  readonly gbits: number
  /** Of datagrams, over at least as many frontends as pumps. */
  readonly roundTrips: number
}

export function medianOf(samples: readonly Sample[], key: string): number {
  return median(samples.flatMap(sample => sample[key] ?? [])) ?? Number.NaN
}

/** With one core for JavaScript, as far as connections come. */
export function predict(costs: Costs, cores: number, pumps: number): Predicted {
  const { decision, pump, accepting, request, gibibyte, roundTrip } = costs
  const limits = [
    { by: "JavaScript's thread", rate: 1 / decision },
    { by: 'the first pump', rate: pumps > 1 ? 1 / (accepting + pump / pumps) : Number.POSITIVE_INFINITY },
    { by: 'pumps', rate: pumps / pump },
    { by: 'cores', rate: cores / (decision + pump + (pumps > 1 ? accepting : 0)) },
  ]
  const lowest = limits.reduce((least, each) => (each.rate < least.rate ? each : least))
  // JavaScript has next to nothing to do for bytes.
  const busy = Math.min(pumps, cores)
  return {
    cores,
    pumps,
    connections: lowest.rate,
    by: lowest.by,
    requests: busy / request,
    gbits: ((busy / gibibyte) * 2 ** 30 * 8) / 1e9,
    roundTrips: busy / roundTrip,
  }
}

/** From how many pumps on JavaScript's thread is what limits connections. */
export function pumpsThatSaturate({ decision, pump }: Costs): number {
  return Math.ceil(pump / decision)
}

/** What this machine itself should carry with so many pumps, where clients and backends share it: all of them together use its cores. */
export function sharedRate(perUnit: number, cores: number, limit: number): number {
  return Math.min(cores / perUnit, limit)
}
